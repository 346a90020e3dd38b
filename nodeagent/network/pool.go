package network

import (
	"fmt"
	"math/bits"
	"net/netip"
)

// The smallest and the largest range a node may have.
const (
	longestPrefix  = 29
	shortestPrefix = 12
)

// Pool hands out the IPv4 addresses of a node's range. The first address is the
// node's own; with the network and broadcast addresses it is never handed out.
// A pool has one owner, which puts its calls in order.
//
// Invariants: a bit is set for each address in use; next is where the search for
// a free one begins, so that an address rests as long as possible before it is
// used again.
type Pool struct {
	prefix netip.Prefix
	used   []uint64
	size   int // addresses in the range
	free   int
	next   int
}

// NewPool makes a pool of an IPv4 range between /12 and /29.
func NewPool(prefix netip.Prefix) (*Pool, error) {
	if !prefix.Addr().Is4() || prefix.Bits() < shortestPrefix || prefix.Bits() > longestPrefix {
		return nil, fmt.Errorf("pod range %s: want an IPv4 range from /%d to /%d", prefix, shortestPrefix, longestPrefix)
	}
	size := 1 << (32 - prefix.Bits())
	p := &Pool{prefix: prefix.Masked(), used: make([]uint64, (size+63)/64), size: size, free: size, next: 2}
	for _, i := range []int{0, 1, size - 1} {
		p.set(i)
	}
	return p, nil
}

// Gateway is the first address of the range, the node's own.
func (p *Pool) Gateway() netip.Addr { return p.addr(1) }

// Prefix is the range.
func (p *Pool) Prefix() netip.Prefix { return p.prefix }

// Free is how many addresses are left.
func (p *Pool) Free() int { return p.free }

// Take marks one address as used. It reports false if it is in use already, or
// cannot be handed out.
func (p *Pool) Take(a netip.Addr) bool {
	i, ok := p.index(a)
	if !ok || p.isUsed(i) {
		return false
	}
	p.set(i)
	return true
}

// Next takes an address that is free; ok is false if there is none.
func (p *Pool) Next() (a netip.Addr, ok bool) {
	if p.free == 0 {
		return netip.Addr{}, false
	}
	// The word with next in it is looked at twice: at first from next on, at last
	// from its beginning.
	word := p.next / 64
	mask := ^uint64(0) << (p.next % 64)
	for range len(p.used) + 1 {
		if open := ^p.used[word] & mask & p.inRange(word); open != 0 {
			i := word*64 + bits.TrailingZeros64(open)
			p.set(i)
			p.next = (i + 1) % p.size
			return p.addr(i), true
		}
		word, mask = (word+1)%len(p.used), ^uint64(0)
	}
	panic(fmt.Sprintf("pool %s: %d free, none found", p.prefix, p.free))
}

// Release makes an address free again. It reports false if it was not in use, or
// cannot be.
func (p *Pool) Release(a netip.Addr) bool {
	i, ok := p.index(a)
	if !ok || !p.isUsed(i) || i < 2 || i == p.size-1 {
		return false
	}
	p.used[i/64] &^= 1 << (i % 64)
	p.free++
	return true
}

// inRange has a bit for each address of a word that lies in the range.
func (p *Pool) inRange(word int) uint64 {
	if n := p.size - word*64; n < 64 {
		return 1<<n - 1
	}
	return ^uint64(0)
}

func (p *Pool) isUsed(i int) bool { return p.used[i/64]&(1<<(i%64)) != 0 }

func (p *Pool) set(i int) {
	p.used[i/64] |= 1 << (i % 64)
	p.free--
}

func (p *Pool) index(a netip.Addr) (int, bool) {
	if !p.prefix.Contains(a) {
		return 0, false
	}
	return int(number(a) - number(p.prefix.Addr())), true
}

func (p *Pool) addr(i int) netip.Addr {
	n := number(p.prefix.Addr()) + uint32(i)
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

func number(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}
