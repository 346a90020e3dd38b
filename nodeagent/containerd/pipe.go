package containerd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/containerd/containerd/v2/pkg/cio"
	"golang.org/x/sys/unix"

	"periplus.dev/nodeagent/crilog"
)

// pipes are the FIFOs between a container and its log.
//
// The shim opens both ends of each and keeps them open until the container has
// ended; so this process can go away and come back (open), and what the
// container prints meanwhile waits in the kernel, up to 64 KiB. Reading ends by
// itself when the shim lets go, or when detach closes our end.
type pipes struct {
	dir     string
	config  cio.Config
	holding []*os.File // keep the FIFOs alive until the shim has them
	input   *os.File   // keeps an input without end open; nil if there is none
	readers map[crilog.Stream]*os.File
	copying sync.WaitGroup
}

// makePipes makes the FIFOs of a container that is about to start. With a
// terminal there is one output; with stdin there is an input that does not end
// as long as this process lives.
func makePipes(dir string, tty, stdin bool) (*pipes, error) {
	p := newPipes(dir, tty, stdin)
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
		return nil, fmt.Errorf("make pipes: %w", err)
	}
	for _, path := range []string{p.config.Stdin, p.config.Stdout, p.config.Stderr} {
		if path == "" {
			continue
		}
		if err := unix.Mkfifo(path, 0o600); err != nil {
			return nil, errors.Join(fmt.Errorf("make pipe %s: %w", path, err), p.remove())
		}
		// Read and write at once neither blocks nor lets the readers see an end.
		f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open pipe: %w", err), p.remove())
		}
		if path == p.config.Stdin {
			p.input = f
		} else {
			p.holding = append(p.holding, f)
		}
	}
	if err := p.open(); err != nil {
		return nil, errors.Join(err, p.remove())
	}
	return p, nil
}

// openPipes takes up the FIFOs of a container that runs.
func openPipes(dir string) (*pipes, error) {
	_, err := os.Stat(filepath.Join(dir, string(crilog.Stderr)))
	p := newPipes(dir, errors.Is(err, fs.ErrNotExist), false)
	return p, p.open()
}

func newPipes(dir string, tty, stdin bool) *pipes {
	p := &pipes{dir: dir, readers: map[crilog.Stream]*os.File{}}
	p.config = cio.Config{Terminal: tty, Stdout: filepath.Join(dir, string(crilog.Stdout))}
	if !tty {
		p.config.Stderr = filepath.Join(dir, string(crilog.Stderr))
	}
	if stdin {
		p.config.Stdin = filepath.Join(dir, "stdin")
	}
	return p
}

func (p *pipes) open() error {
	for stream, path := range map[crilog.Stream]string{crilog.Stdout: p.config.Stdout, crilog.Stderr: p.config.Stderr} {
		if path == "" {
			continue
		}
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return errors.Join(fmt.Errorf("open pipe: %w", err), p.detach())
		}
		p.readers[stream] = f
	}
	return nil
}

// copyTo begins to write to the log. The shim has to have opened its ends.
func (p *pipes) copyTo(l *crilog.Log) {
	p.release()
	for stream, r := range p.readers {
		p.copying.Go(func() {
			_, _ = io.CopyBuffer(onlyWriter{l.Stream(stream)}, onlyReader{r}, make([]byte, 64<<10)) // ends with the container, or by detach
		})
	}
}

// release lets go of the ends that belong to the shim.
func (p *pipes) release() {
	for _, f := range p.holding {
		_ = f.Close()
	}
	p.holding = nil
}

// detach stops reading and leaves the FIFOs to whoever comes next.
func (p *pipes) detach() error {
	var errs []error
	if p.input != nil {
		errs = append(errs, p.input.Close())
	}
	for _, r := range p.readers {
		errs = append(errs, r.Close())
	}
	p.copying.Wait()
	return errors.Join(errs...)
}

// remove stops reading and removes the FIFOs.
func (p *pipes) remove() error {
	p.release()
	err := p.detach()
	if err := os.RemoveAll(p.dir); err != nil {
		return errors.Join(err, fmt.Errorf("remove pipes: %w", err))
	}
	if errors.Is(err, fs.ErrClosed) {
		return nil
	}
	return err
}

// The interface that containerd's client wants of them.
func (p *pipes) Config() cio.Config { return p.config }
func (p *pipes) Cancel()            {}
func (p *pipes) Wait()              { p.copying.Wait() }
func (p *pipes) Close() error       { return nil }

// onlyReader and onlyWriter hide the short cuts that io.Copy would look for: a
// splice would keep what is read out of sight.
type onlyReader struct{ io.Reader }
type onlyWriter struct{ io.Writer }
