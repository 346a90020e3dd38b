// Package volume makes the directories that a pod's containers mount: emptyDir,
// hostPath, and files made of ConfigMaps, Secrets and the pod's own fields
// (configMap, secret, downwardAPI, projected).
//
// [Plan] decides what each volume holds; it reads nothing but its arguments.
// [Dir] makes it so, and may be asked again at any time: content that changed is
// replaced at one stroke, so that a reader sees all of the old files or all of
// the new ones. Values of Secrets are written to memory only.
//
// [Field] and [Quantity] are what a pod can learn about itself; environment
// variables use them too.
package volume
