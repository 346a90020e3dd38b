package network

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// forwarding lets the node pass on what its pods send each other.
const forwarding = "/proc/sys/net/ipv4/ip_forward"

// podInterface is what a pod calls its end of the veth pair.
const podInterface = "eth0"

// nextHop is what every pod takes for its router: an address that exists nowhere
// and is answered by a permanent neighbour entry for the node's end of the pair.
var nextHop = net.IPv4(169, 254, 1, 1)

// ErrFull says that the node's range is used up.
var ErrFull = errors.New("no free pod address")

// Config describes a node's part of the network.
type Config struct {
	Owner string       // marks the interfaces that belong to the node; no other node's on the machine
	CIDR  netip.Prefix // the addresses of its pods: IPv4, /12 to /29
}

// Routed gives each pod a veth pair and a route. Its methods may be called from
// many goroutines.
//
// The node's end carries "periplus/OWNER/UID" as its alias, by which it is found
// again; its name is a hash of that and never used twice at a time.
type Routed struct {
	owner string

	mu   sync.Mutex
	pool *Pool
	pods map[string]netip.Addr // by UID
}

// NewRouted prepares the network namespace of the process: packets are forwarded,
// and loopback has the first address of the range, by which pods reach the node
// and from which the node speaks to them.
func NewRouted(c Config) (*Routed, error) {
	pool, err := NewPool(c.CIDR)
	if err != nil {
		return nil, err
	}
	if now, err := os.ReadFile(forwarding); err != nil || strings.TrimSpace(string(now)) != "1" {
		if err := os.WriteFile(forwarding, []byte("1"), 0); err != nil {
			return nil, fmt.Errorf("allow forwarding: %w", err)
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return nil, fmt.Errorf("find loopback: %w", err)
	}
	if err := errors.Join(netlink.LinkSetUp(lo), netlink.AddrReplace(lo, host(pool.Gateway()))); err != nil {
		return nil, fmt.Errorf("give the node address %s: %w", pool.Gateway(), err)
	}
	return &Routed{owner: c.Owner, pool: pool, pods: map[string]netip.Addr{}}, nil
}

// Close takes the node's own address away. Pods stay as they are.
func (r *Routed) Close() error {
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.AddrDel(lo, host(r.pool.Gateway()))
	}
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("take the node's address: %w", err)
	}
	return nil
}

// Gateway is the node's address as its pods see it.
func (r *Routed) Gateway() netip.Addr { return r.pool.Gateway() }

// Adopt takes up a pod that was attached by a former process. It reports false if
// the address is not this node's to give, or is another pod's.
func (r *Routed) Adopt(uid string, a netip.Addr) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pods[uid] == a {
		return true
	}
	if !r.pool.Take(a) {
		return false
	}
	r.pods[uid] = a
	return true
}

// Attach connects a pod whose network namespace is pinned at path, with the
// address want if it is free and otherwise with any, and returns the address. A
// pod that is attached already is attached anew. On an error it is not attached.
func (r *Routed) Attach(uid, path string, want netip.Addr) (netip.Addr, error) {
	a, err := r.take(uid, want)
	if err != nil {
		return a, fmt.Errorf("attach pod: %w", err)
	}
	if err := r.deleteLink(uid); err != nil {
		return a, errors.Join(fmt.Errorf("attach pod: %w", err), r.Detach(uid))
	}
	if err := r.connect(uid, path, a); err != nil {
		return a, errors.Join(fmt.Errorf("attach pod: %w", err), r.Detach(uid))
	}
	return a, nil
}

// Detach takes the pod's connection away and its address back. A pod that is not
// attached is no error.
func (r *Routed) Detach(uid string) error {
	if err := r.deleteLink(uid); err != nil {
		return fmt.Errorf("detach pod: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if a, ok := r.pods[uid]; ok {
		r.pool.Release(a)
		delete(r.pods, uid)
	}
	return nil
}

// Prune removes the interfaces of this node's pods that are neither attached nor
// adopted: what a crash has left.
func (r *Routed) Prune() error {
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("list interfaces: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, link := range links {
		uid, ours := strings.CutPrefix(link.Attrs().Alias, r.alias(""))
		if _, known := r.pods[uid]; !ours || known {
			continue
		}
		if err := netlink.LinkDel(link); err != nil && !isGone(err) {
			return fmt.Errorf("delete interface %s: %w", link.Attrs().Name, err)
		}
	}
	return nil
}

// take finds an address for a pod.
func (r *Routed) take(uid string, want netip.Addr) (netip.Addr, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a, ok := r.pods[uid]; ok {
		return a, nil
	}
	if !want.IsValid() || !r.pool.Take(want) {
		var ok bool
		if want, ok = r.pool.Next(); !ok {
			return want, fmt.Errorf("%w in %s", ErrFull, r.pool.Prefix())
		}
	}
	r.pods[uid] = want
	return want, nil
}

// connect makes the veth pair and both ends of the route.
func (r *Routed) connect(uid, path string, a netip.Addr) error {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	defer ns.Close()
	pair := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: podInterface, PeerNamespace: netlink.NsFd(ns)}
	pair.Name = r.linkName(uid)
	if err := netlink.LinkAdd(pair); err != nil {
		return fmt.Errorf("add interface %s: %w", pair.Name, err)
	}
	outside, err := netlink.LinkByName(pair.Name)
	if err != nil {
		return fmt.Errorf("find interface %s: %w", pair.Name, err)
	}
	if err := netlink.LinkSetAlias(outside, r.alias(uid)); err != nil {
		return fmt.Errorf("mark interface %s: %w", pair.Name, err)
	}
	podMAC, err := setInside(ns, a, outside.Attrs().HardwareAddr)
	if err != nil {
		return fmt.Errorf("set up the pod's interface: %w", err)
	}
	return r.setOutside(outside, a, podMAC)
}

// setOutside brings the node's end up and leads the pod's address to it.
func (r *Routed) setOutside(link netlink.Link, a netip.Addr, podMAC net.HardwareAddr) error {
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set interface up: %w", err)
	}
	index := link.Attrs().Index
	route := &netlink.Route{LinkIndex: index, Scope: netlink.SCOPE_LINK, Dst: host(a).IPNet, Src: r.pool.Gateway().AsSlice()}
	if err := netlink.RouteReplace(route); err != nil {
		return fmt.Errorf("route %s: %w", a, err)
	}
	if err := netlink.NeighSet(neighbour(index, a.AsSlice(), podMAC)); err != nil {
		return fmt.Errorf("make %s a neighbour: %w", a, err)
	}
	return nil
}

// setInside gives the pod's end its address and routes and returns its MAC.
func setInside(ns netns.NsHandle, a netip.Addr, routerMAC net.HardwareAddr) (net.HardwareAddr, error) {
	inside, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer inside.Close()
	link, err := inside.LinkByName(podInterface)
	if err != nil {
		return nil, err
	}
	index := link.Attrs().Index
	steps := []func() error{
		func() error { return inside.AddrReplace(link, host(a)) },
		func() error { return inside.LinkSetUp(link) },
		func() error { return inside.NeighSet(neighbour(index, nextHop, routerMAC)) },
		func() error {
			return inside.RouteReplace(&netlink.Route{LinkIndex: index, Scope: netlink.SCOPE_LINK,
				Dst: &net.IPNet{IP: nextHop, Mask: net.CIDRMask(32, 32)}})
		},
		func() error {
			return inside.RouteReplace(&netlink.Route{LinkIndex: index, Gw: nextHop,
				Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}})
		},
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return link.Attrs().HardwareAddr, nil
}

// deleteLink removes the node's end of the pair, and with it the other one. The
// kernel would do so by itself when the namespace ends, but later: a new pair
// would find the name still in use.
func (r *Routed) deleteLink(uid string) error {
	link, err := netlink.LinkByName(r.linkName(uid))
	if isGone(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find interface: %w", err)
	}
	if err := netlink.LinkDel(link); err != nil && !isGone(err) {
		return fmt.Errorf("delete interface %s: %w", link.Attrs().Name, err)
	}
	return nil
}

// linkName is the name of the node's end: 15 characters, all that there may be.
func (r *Routed) linkName(uid string) string {
	sum := sha256.Sum256([]byte(r.alias(uid)))
	return "pp" + hex.EncodeToString(sum[:])[:13]
}

func (r *Routed) alias(uid string) string { return "periplus/" + r.owner + "/" + uid }

func isGone(err error) bool {
	var notFound netlink.LinkNotFoundError
	return errors.As(err, &notFound) || errors.Is(err, unix.ENODEV)
}

func neighbour(index int, ip net.IP, mac net.HardwareAddr) *netlink.Neigh {
	return &netlink.Neigh{LinkIndex: index, Family: netlink.FAMILY_V4, State: netlink.NUD_PERMANENT, IP: ip, HardwareAddr: mac}
}

// host is an address with a mask of its own.
func host(a netip.Addr) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(32, 32)}}
}
