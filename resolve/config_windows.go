package resolve

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// SystemConfig asks Windows for the servers of the network adapters that are
// up, the one with the lowest metric first, and reads the search list from
// the registry, as the system's own client does.
func SystemConfig() (*Config, error) {
	c := defaultConfig()
	c.Source = "the network adapters"
	adapters, err := adapterAddresses()
	if err != nil {
		return nil, fmt.Errorf("list the network adapters: %w", err)
	}
	seen := make(map[netip.AddrPort]bool)
	for pass := range 2 { // those with a gateway first: VPNs and LANs before leftovers
		for _, a := range adapters {
			if a.OperStatus != windows.IfOperStatusUp || (a.FirstGatewayAddress != nil) != (pass == 0) {
				continue
			}
			for d := a.FirstDnsServerAddress; d != nil; d = d.Next {
				ip, ok := netip.AddrFromSlice(d.Address.IP())
				if !ok {
					continue
				}
				ip = ip.Unmap()
				if ip.Is6() && ip.IsLinkLocalUnicast() {
					ip = ip.WithZone(fmt.Sprint(a.Ipv6IfIndex))
				}
				// Windows lists fec0:0:0:ffff::1 to 3 where nothing is set.
				if strings.HasPrefix(ip.String(), "fec0:0:0:ffff") {
					continue
				}
				if s := netip.AddrPortFrom(ip, 53); !seen[s] && len(c.Servers) < 8 {
					seen[s] = true
					c.Servers = append(c.Servers, s)
				}
			}
			if suffix := windows.UTF16PtrToString(a.DnsSuffix); suffix != "" {
				c.Search = append(c.Search, searchList([]string{suffix})...)
			}
		}
	}
	if list := registrySearchList(); len(list) > 0 {
		c.Search = list // a list that is set replaces the adapters' suffixes
	}
	return c, nil
}

func adapterAddresses() ([]*windows.IpAdapterAddresses, error) {
	size := uint32(15000) // what Microsoft's documentation advises to begin with
	for range 4 {
		b := make([]byte, size)
		first := (*windows.IpAdapterAddresses)(unsafe.Pointer(&b[0]))
		const flags = windows.GAA_FLAG_INCLUDE_PREFIX | 0x80 // INCLUDE_GATEWAYS
		err := windows.GetAdaptersAddresses(windows.AF_UNSPEC, flags, 0, first, &size)
		if err == windows.ERROR_BUFFER_OVERFLOW && size <= 1<<20 {
			continue
		}
		if err != nil {
			return nil, err
		}
		var out []*windows.IpAdapterAddresses
		for a := first; a != nil; a = a.Next {
			out = append(out, a)
		}
		return out, nil
	}
	return nil, windows.ERROR_BUFFER_OVERFLOW
}

func registrySearchList() []string {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE,
		`SYSTEM\CurrentControlSet\Services\Tcpip\Parameters`, registry.QUERY_VALUE)
	if err != nil {
		return nil
	}
	defer k.Close()
	v, _, err := k.GetStringValue("SearchList")
	if err != nil {
		return nil
	}
	return searchList(strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' }))
}

// HostsFile returns the path of the system's hosts file.
func HostsFile() string {
	root := os.Getenv("SystemRoot")
	if root == "" {
		root = `C:\Windows`
	}
	return filepath.Join(root, "System32", "drivers", "etc", "hosts")
}
