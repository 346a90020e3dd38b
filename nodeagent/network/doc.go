// Package network gives pods their namespaces and addresses on one node.
//
// A pod's namespaces live as long as files that they are pinned to, without any
// process in them ([Pin]). A pod is reached by a route of its own through a veth
// pair of its own ([Routed]): there is no bridge, no address translation, and
// pods of one node reach each other and the node by their addresses. Which
// address a pod has is decided by a [Pool], which is pure.
//
// All of it stands in the network namespace of the calling process, so that
// several nodes can share a machine.
package network
