package box

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"github.com/wherry-net/wherry/socket/netem"
	"github.com/wherry-net/wherry/socket/units"
)

// Errors that callers decide by.
var (
	// ErrNamespaces: the system does not let this user make namespaces, or
	// lets him and gives him no rights in them.
	ErrNamespaces = errors.New("the system forbids user namespaces")
	// ErrUnsupported: this is not Linux.
	ErrUnsupported = errors.New("two hosts in namespaces need Linux")
	// ErrClosed: the box is gone.
	ErrClosed = errors.New("the box is closed")
	// ErrOutside: Enter was called by a process that is not in a box.
	ErrOutside = errors.New("not inside a box")
)

// A Host is one of the two.
type Host int

// The two hosts.
const (
	A Host = iota
	B
)

func (h Host) String() string {
	if h == B {
		return "b"
	}
	return "a"
}

// ParseHost reads "a" or "b", in either case.
func ParseHost(s string) (Host, error) {
	switch s {
	case "a", "A":
		return A, nil
	case "b", "B":
		return B, nil
	}
	return 0, fmt.Errorf("there is no host %q: want a or b", s)
}

// A Backend is how the emulator gets at the packets.
type Backend int

// Back ends. Auto takes the first of the others that the system gives.
const (
	Auto   Backend = iota
	TUN            // a TUN device a host; needs a /dev/net/tun that this user may open
	Packet         // a veth pair a host, with a packet socket at its far end
)

func (b Backend) String() string {
	switch b {
	case TUN:
		return "tun"
	case Packet:
		return "packet"
	}
	return "auto"
}

// DefaultMTU is the MTU of the link when [Options.MTU] is zero, in bytes.
const DefaultMTU = 1500

// Bounds of Options.MTU: IPv6 needs the lower one, and an IP packet has no room
// for more than the upper one.
const (
	MinMTU = 1280
	MaxMTU = 65535
)

// The addresses of the hosts. They are the same in every box, since nothing
// outside can see them.
var (
	addr4 = [2]netip.Addr{netip.MustParseAddr("10.77.0.1"), netip.MustParseAddr("10.77.0.2")}
	addr6 = [2]netip.Addr{netip.MustParseAddr("fd77::1"), netip.MustParseAddr("fd77::2")}
)

// Addr is the IPv4 address of h.
func (h Host) Addr() netip.Addr { return addr4[h&1] }

// Addr6 is the IPv6 address of h. It is missing where the system has no IPv6.
func (h Host) Addr6() netip.Addr { return addr6[h&1] }

// Environ is what a command finds in its environment besides what it is given:
// WHERRY_A, WHERRY_B, WHERRY_A6 and WHERRY_B6, the hosts' addresses.
func Environ() []string {
	return []string{
		"WHERRY_A=" + A.Addr().String(), "WHERRY_B=" + B.Addr().String(),
		"WHERRY_A6=" + A.Addr6().String(), "WHERRY_B6=" + B.Addr6().String(),
	}
}

// Options says what kind of box to make. The zero value is a perfect wire.
type Options struct {
	// AToB and BToA are what happens to packets on their way. Direction is set
	// by Start (0 and 1) and Header must be zero. The two ways share a seed or
	// not, as the caller likes. Packets are IP packets, and so are the bytes
	// that count for the rate; Overhead adds to them. Limit has a default that
	// holds the link's bandwidth-delay product. A Trace is called from the two
	// directions at once.
	AToB, BToA netem.Config
	// MTU of the link, in bytes; zero means DefaultMTU.
	MTU int
	// Backend to use; Auto falls back.
	Backend Backend
	// Init is how this program runs [Init] in a new process: the arguments
	// for its own binary. Nil means "lab", "inside".
	Init []string
	// Stderr is where the box's own process would tell of a crash. Nil
	// discards it.
	Stderr io.Writer
}

// Check tells what is wrong with o without making anything. What it says about
// an impairment wraps [netem.ErrConfig].
func (o *Options) Check() error {
	for _, l := range []*netem.Config{&o.AToB, &o.BToA} {
		if l.Header != 0 {
			return errors.New("box: Header is not the caller's to use")
		}
		if l.Rate > MaxRate {
			return fmt.Errorf("rate %v: %w: want at most %v", l.Rate, netem.ErrConfig, MaxRate)
		}
		if err := l.Validate(); err != nil {
			return err
		}
	}
	if o.MTU != 0 && (o.MTU < MinMTU || o.MTU > MaxMTU) {
		return fmt.Errorf("mtu %d: %w: want %d to %d", o.MTU, netem.ErrConfig, MinMTU, MaxMTU)
	}
	if o.Backend < Auto || o.Backend > Packet {
		return fmt.Errorf("box: there is no back end %d", o.Backend)
	}
	return nil
}

// A Command is a program to run on a host.
type Command struct {
	Host Host
	// Path of the program, and its arguments with its name first.
	Path string
	Args []string
	// Env is the environment, to which Environ is added; nil means this
	// process's.
	Env []string
	// Dir is the working directory; empty means this process's.
	Dir string
	// The program's files; nil means the null device.
	Stdin, Stdout, Stderr *os.File
}

// Stats is what one direction of the link has done.
type Stats struct {
	netem.Stats
	// Missed packets never reached the emulator, which was too slow to take
	// them; the host's own queue dropped them. A link whose rate this machine
	// can carry misses none.
	Missed uint64
	// Ignored packets were the hosts' own chatter, which is not put on the
	// link; see the package documentation.
	Ignored uint64
	// Refused packets could not be handed to the receiving host.
	Refused uint64
	// Late is how long after its time a packet was handed over at the worst:
	// what the emulator, kept waiting for a processor, added to the delay.
	Late time.Duration
}

// An ExitStatus is how a command ended.
type ExitStatus struct {
	Code   int // of a command that ended by itself
	Signal int // the number of the signal that ended it, or 0
}

// Shell is the status as a shell has it in $?: 128 and the number of the signal
// for a command that was killed by one.
func (s ExitStatus) Shell() int {
	if s.Signal != 0 {
		return 128 + s.Signal
	}
	return s.Code
}

// MaxRate is the largest rate that Options take: far above what this emulator
// carries anywhere, so that what lies beyond must be a mistake.
const MaxRate = 100 * units.Gbit
