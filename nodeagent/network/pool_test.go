package network_test

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"periplus.dev/nodeagent/network"
)

// A pool behaves like a set of addresses that somebody counts by hand.
func TestPool(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bits := rapid.IntRange(24, 29).Draw(t, "bits")
		prefix := netip.PrefixFrom(netip.MustParseAddr("10.244.7.0"), bits)
		p, err := network.NewPool(prefix)
		if err != nil {
			t.Fatal(err)
		}
		capacity := 1<<(32-bits) - 3
		used := map[netip.Addr]bool{}
		addr := rapid.Custom(func(t *rapid.T) netip.Addr {
			return netip.AddrFrom4([4]byte{10, 244, 7, rapid.Byte().Draw(t, "last")})
		})
		t.Repeat(map[string]func(*rapid.T){
			"next": func(t *rapid.T) {
				a, ok := p.Next()
				if ok == (len(used) == capacity) {
					t.Fatalf("Next = %s, %v with %d of %d in use", a, ok, len(used), capacity)
				}
				if ok && used[a] {
					t.Fatalf("%s handed out twice", a)
				}
				if ok {
					used[a] = true
				}
			},
			"take": func(t *rapid.T) {
				a := addr.Draw(t, "addr")
				if want := handedOut(prefix, a) && !used[a]; p.Take(a) != want {
					t.Fatalf("Take(%s) = %v", a, !want)
				} else if want {
					used[a] = true
				}
			},
			"release": func(t *rapid.T) {
				a := addr.Draw(t, "addr")
				if p.Release(a) != used[a] {
					t.Fatalf("Release(%s) = %v", a, !used[a])
				}
				delete(used, a)
			},
			"": func(t *rapid.T) {
				if p.Free() != capacity-len(used) {
					t.Fatalf("Free = %d, want %d", p.Free(), capacity-len(used))
				}
				for a := range used {
					if !handedOut(prefix, a) {
						t.Fatalf("%s must not be handed out", a)
					}
				}
			},
		})
	})
}

// handedOut says by the words of the contract whether a pod may have an address.
func handedOut(p netip.Prefix, a netip.Addr) bool {
	return p.Contains(a) && a != p.Addr() && a != p.Addr().Next() && p.Contains(a.Next())
}

func TestPoolLetsAnAddressRest(t *testing.T) {
	p, err := network.NewPool(netip.MustParsePrefix("10.0.0.0/24"))
	if err != nil {
		t.Fatal(err)
	}
	first, _ := p.Next()
	p.Release(first)
	if second, _ := p.Next(); second == first {
		t.Errorf("%s was handed out again at once", first)
	}
}

func TestNewPoolRefuses(t *testing.T) {
	for _, s := range []string{"10.0.0.0/30", "10.0.0.0/8", "fd00::/120"} {
		if _, err := network.NewPool(netip.MustParsePrefix(s)); err == nil {
			t.Errorf("%s: no error", s)
		}
	}
	if _, err := network.NewPool(netip.Prefix{}); err == nil {
		t.Error("zero prefix: no error")
	}
}
