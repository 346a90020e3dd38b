package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/errdefs"

	"periplus.dev/nodeagent/image"
	"periplus.dev/nodeagent/runtime"
)

// Image implements [runtime.Images].
func (r *Runtime) Image(ctx context.Context, name string) (runtime.Image, bool, error) {
	ref, err := image.Parse(name)
	if err != nil {
		return runtime.Image{}, false, err
	}
	img, err := r.find(ctx, ref)
	if errdefs.IsNotFound(err) {
		return runtime.Image{}, false, nil
	}
	if err != nil {
		return runtime.Image{}, false, fmt.Errorf("find image %s: %w", ref, asTemporary(err))
	}
	public, err := publicImage(ctx, ref, img)
	if errdefs.IsNotFound(err) { // its name is here, but not all of its content
		return runtime.Image{}, false, nil
	}
	return public, err == nil, err
}

// find looks an image up by its name, or, if the name has a digest, by any name
// under which that digest is here.
func (r *Runtime) find(ctx context.Context, ref image.Ref) (client.Image, error) {
	img, err := r.client.GetImage(ctx, ref.String())
	if !errdefs.IsNotFound(err) || ref.Digest == "" {
		return img, err
	}
	same, err := r.client.ListImages(ctx, fmt.Sprintf("target.digest==%s", ref.Digest))
	if err != nil {
		return nil, err
	}
	for _, img := range same {
		if other, err := image.Parse(img.Name()); err == nil && other.Repository == ref.Repository {
			return img, nil
		}
	}
	return nil, fmt.Errorf("%s: %w", ref, errdefs.ErrNotFound)
}

func publicImage(ctx context.Context, ref image.Ref, img client.Image) (runtime.Image, error) {
	size, err := img.Size(ctx)
	if err != nil {
		return runtime.Image{}, fmt.Errorf("size image %s: %w", ref, asTemporary(err))
	}
	digest := img.Target().Digest.String()
	return runtime.Image{Ref: ref.String(), ID: ref.ID(digest), Digest: digest, Bytes: size}, nil
}

// startable finds an image and sees to it that a container can be made of it.
func (r *Runtime) startable(ctx context.Context, name string) (client.Image, runtime.Image, error) {
	ref, err := image.Parse(name)
	if err != nil {
		return nil, runtime.Image{}, err
	}
	img, err := r.find(ctx, ref)
	if errdefs.IsNotFound(err) {
		return nil, runtime.Image{}, fmt.Errorf("%w: %s is not on the node", runtime.ErrImageNotFound, ref)
	}
	if err != nil {
		return nil, runtime.Image{}, fmt.Errorf("find image %s: %w", ref, asTemporary(err))
	}
	if err := unpack(ctx, img); err != nil {
		return nil, runtime.Image{}, named(runtime.ReasonCreate, err)
	}
	digest := img.Target().Digest.String()
	return img, runtime.Image{Ref: ref.String(), ID: ref.ID(digest), Digest: digest}, nil
}

// unpack makes the image's layers into snapshots, unless they are.
func unpack(ctx context.Context, img client.Image) error {
	done, err := img.IsUnpacked(ctx, snapshotter)
	if err == nil && !done {
		err = img.Unpack(ctx, snapshotter)
	}
	if err != nil {
		return fmt.Errorf("unpack image %s: %w", img.Name(), err)
	}
	return nil
}

// Pull implements [runtime.Images].
func (r *Runtime) Pull(ctx context.Context, name string) (runtime.Image, error) {
	ref, err := image.Parse(name)
	if err != nil {
		return runtime.Image{}, err
	}
	img, err := r.pull(ctx, ref)
	if err != nil {
		return runtime.Image{}, fmt.Errorf("pull image %s: %w", ref, pullError(err))
	}
	return img, nil
}

func (r *Runtime) pull(ctx context.Context, ref image.Ref) (runtime.Image, error) {
	resolver := r.mirrors.resolver()
	if img, ok, err := r.upToDate(ctx, ref, resolver); err != nil || ok {
		return img, err
	}
	img, err := r.client.Pull(ctx, ref.String(), client.WithResolver(resolver),
		client.WithPullUnpack, client.WithPullSnapshotter(snapshotter))
	if err != nil {
		return runtime.Image{}, err
	}
	return publicImage(ctx, ref, img)
}

// upToDate asks the registry what the name means now and whether that is here.
func (r *Runtime) upToDate(ctx context.Context, ref image.Ref, resolver remotes.Resolver) (runtime.Image, bool, error) {
	_, target, err := resolver.Resolve(ctx, ref.String())
	if err != nil {
		return runtime.Image{}, false, err
	}
	img, err := r.client.GetImage(ctx, ref.String())
	if errdefs.IsNotFound(err) {
		return runtime.Image{}, false, nil
	}
	if err != nil {
		return runtime.Image{}, false, err
	}
	if img.Target().Digest != target.Digest {
		return runtime.Image{}, false, nil
	}
	done, err := img.IsUnpacked(ctx, snapshotter)
	if err != nil || !done {
		return runtime.Image{}, false, nil //nolint:nilerr // something of it is missing: pulling mends it
	}
	public, err := publicImage(ctx, ref, img)
	public.Present = true
	return public, err == nil, nil
}

// pullError says what kind of failure a pull has met.
func pullError(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	text := err.Error()
	refused := errdefs.IsUnauthorized(err) || errdefs.IsPermissionDenied(err) || strings.Contains(text, "pull access denied") ||
		strings.Contains(text, "insufficient_scope") || strings.Contains(text, "401 Unauthorized") || strings.Contains(text, "403 Forbidden")
	if errdefs.IsNotFound(err) || refused {
		return fmt.Errorf("%w: %w", runtime.ErrImageNotFound, err)
	}
	return fmt.Errorf("%w: %w", runtime.ErrTemporary, err)
}

// Import implements [runtime.Images].
func (r *Runtime) Import(ctx context.Context, archive io.Reader) ([]runtime.Image, error) {
	imported, err := r.client.Import(ctx, archive, client.WithSkipMissing())
	if err != nil {
		if errdefs.IsUnavailable(err) || ctx.Err() != nil {
			return nil, fmt.Errorf("import images: %w", asTemporary(err))
		}
		return nil, fmt.Errorf("import images: %w: %w", runtime.ErrInvalidImage, err)
	}
	var out []runtime.Image
	for _, img := range imported {
		public, err := r.adopt(ctx, img)
		if err != nil {
			return nil, fmt.Errorf("import image %s: %w", img.Name, err)
		}
		out = append(out, public)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("import images: %w: no image in the archive has a name", runtime.ErrInvalidImage)
	}
	slices.SortFunc(out, func(a, b runtime.Image) int { return strings.Compare(a.Ref, b.Ref) })
	return out, nil
}

// adopt gives an imported image the full form of its name and unpacks it.
func (r *Runtime) adopt(ctx context.Context, img images.Image) (runtime.Image, error) {
	ref, err := image.Parse(img.Name)
	if err != nil {
		return runtime.Image{}, err
	}
	if img.Name != ref.String() {
		short := img.Name
		img.Name = ref.String()
		store := r.client.ImageService()
		if _, err = store.Create(ctx, img); errdefs.IsAlreadyExists(err) {
			_, err = store.Update(ctx, img, "target")
		}
		if err == nil {
			err = store.Delete(ctx, short)
		}
		if err != nil {
			return runtime.Image{}, fmt.Errorf("name it %s: %w", ref, asTemporary(err))
		}
	}
	whole := client.NewImage(r.client, img)
	if err := unpack(ctx, whole); err != nil {
		return runtime.Image{}, asTemporary(err)
	}
	return publicImage(ctx, ref, whole)
}
