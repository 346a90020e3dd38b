package validation

import (
	"reflect"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func volume(v *corev1.Volume, p *field.Path) field.ErrorList {
	errs := exactlyOne(v.VolumeSource, p)
	switch {
	case v.HostPath != nil:
		hp := p.Child("hostPath")
		if v.HostPath.Path == "" {
			errs = append(errs, field.Required(hp.Child("path"), ""))
		}
		errs = append(errs, noParent(v.HostPath.Path, hp.Child("path"))...)
		errs = append(errs, hostPathType(v.HostPath.Type, hp.Child("type"))...)
	case v.EmptyDir != nil:
		if l := v.EmptyDir.SizeLimit; l != nil && l.Sign() < 0 {
			errs = append(errs, field.Forbidden(p.Child("emptyDir", "sizeLimit"), "SizeLimit field must be a valid resource quantity"))
		}
	case v.ConfigMap != nil:
		errs = append(errs, required(v.ConfigMap.Name, p.Child("configMap", "name"))...)
		errs = append(errs, mode(v.ConfigMap.DefaultMode, p.Child("configMap", "defaultMode"))...)
		errs = append(errs, keys(v.ConfigMap.Items, p.Child("configMap", "items"))...)
	case v.Secret != nil:
		errs = append(errs, required(v.Secret.SecretName, p.Child("secret", "secretName"))...)
		errs = append(errs, mode(v.Secret.DefaultMode, p.Child("secret", "defaultMode"))...)
		errs = append(errs, keys(v.Secret.Items, p.Child("secret", "items"))...)
	case v.DownwardAPI != nil:
		errs = append(errs, mode(v.DownwardAPI.DefaultMode, p.Child("downwardAPI", "defaultMode"))...)
		errs = append(errs, downward(v.DownwardAPI.Items, p.Child("downwardAPI", "items"))...)
	case v.Projected != nil:
		errs = append(errs, mode(v.Projected.DefaultMode, p.Child("projected", "defaultMode"))...)
		errs = append(errs, projected(v.Projected.Sources, p.Child("projected", "sources"))...)
	case v.PersistentVolumeClaim != nil:
		errs = append(errs, required(v.PersistentVolumeClaim.ClaimName, p.Child("persistentVolumeClaim", "claimName"))...)
	}
	return errs
}

func required(value string, p *field.Path) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(p, "")}
	}
	return nil
}

// exactlyOne checks that one of a volume's many sources is set.
func exactlyOne(s corev1.VolumeSource, p *field.Path) field.ErrorList {
	var errs field.ErrorList
	n := 0
	v := reflect.ValueOf(s)
	for i := range v.NumField() {
		if v.Field(i).IsNil() {
			continue
		}
		if n++; n > 1 {
			errs = append(errs, field.Forbidden(p.Child(jsonName(v.Type().Field(i))), "may not specify more than 1 volume type"))
		}
	}
	if n == 0 {
		errs = append(errs, field.Required(p, "must specify a volume type"))
	}
	return errs
}

func jsonName(f reflect.StructField) string {
	tag := f.Tag.Get("json")
	for i := range tag {
		if tag[i] == ',' {
			return tag[:i]
		}
	}
	return tag
}

func hostPathType(t *corev1.HostPathType, p *field.Path) field.ErrorList {
	if t == nil || *t == corev1.HostPathUnset {
		return nil
	}
	return oneOf(*t, p, corev1.HostPathDirectoryOrCreate, corev1.HostPathDirectory, corev1.HostPathFileOrCreate, corev1.HostPathFile,
		corev1.HostPathSocket, corev1.HostPathCharDev, corev1.HostPathBlockDev)
}

func keys(items []corev1.KeyToPath, p *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, k := range items {
		kp := p.Index(i)
		errs = append(errs, required(k.Key, kp.Child("key"))...)
		errs = append(errs, required(k.Path, kp.Child("path"))...)
		errs = append(errs, relative(k.Path, kp.Child("path"))...)
		errs = append(errs, mode(k.Mode, kp.Child("mode"))...)
	}
	return errs
}

func downward(items []corev1.DownwardAPIVolumeFile, p *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, f := range items {
		fp := p.Index(i)
		errs = append(errs, required(f.Path, fp.Child("path"))...)
		errs = append(errs, relative(f.Path, fp.Child("path"))...)
		errs = append(errs, mode(f.Mode, fp.Child("mode"))...)
		switch {
		case f.FieldRef != nil && f.ResourceFieldRef != nil:
			errs = append(errs, field.Invalid(fp, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"))
		case f.FieldRef != nil:
			errs = append(errs, required(f.FieldRef.FieldPath, fp.Child("fieldRef", "fieldPath"))...)
		case f.ResourceFieldRef != nil:
			errs = append(errs, required(f.ResourceFieldRef.ContainerName, fp.Child("resourceFieldRef", "containerName"))...)
			errs = append(errs, named(f.ResourceFieldRef.Resource, fp.Child("resourceFieldRef", "resource"), knownResourceField)...)
		default:
			errs = append(errs, field.Required(fp, "one of fieldRef and resourceFieldRef is required"))
		}
	}
	return errs
}

func projected(sources []corev1.VolumeProjection, p *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, s := range sources {
		sp := p.Index(i)
		switch {
		case s.Secret != nil:
			errs = append(errs, required(s.Secret.Name, sp.Child("secret", "name"))...)
			errs = append(errs, keys(s.Secret.Items, sp.Child("secret", "items"))...)
		case s.ConfigMap != nil:
			errs = append(errs, required(s.ConfigMap.Name, sp.Child("configMap", "name"))...)
			errs = append(errs, keys(s.ConfigMap.Items, sp.Child("configMap", "items"))...)
		case s.DownwardAPI != nil:
			errs = append(errs, downward(s.DownwardAPI.Items, sp.Child("downwardAPI", "items"))...)
		case s.ServiceAccountToken != nil:
			errs = append(errs, required(s.ServiceAccountToken.Path, sp.Child("serviceAccountToken", "path"))...)
			errs = append(errs, relative(s.ServiceAccountToken.Path, sp.Child("serviceAccountToken", "path"))...)
		}
	}
	return errs
}
