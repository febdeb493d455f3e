package lab

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/wherry-net/wherry/socket/netem"
	"github.com/wherry-net/wherry/socket/units"
)

// Bounds of a plan. They are far above what a person would wait for, and keep a
// slip of the pen from filling a disk or a memory.
const (
	MaxPlan    = 256 << 10   // bytes of the file
	MaxRepeat  = 1000        // times
	MaxLinks   = 1000        // after lists are multiplied out
	MaxRuns    = 10000       // links × transports × repeats
	MaxFile    = 1 << 40     // bytes: a tebibyte
	MinRate    = units.Kbit  // a packet takes twelve seconds
	MaxTimeout = 24 * 3600e9 // ns: a day
	MaxName    = 200         // bytes
)

// A Plan is an experiment: every transport over every link, several times.
type Plan struct {
	Name   string
	Seed   uint64 // of the first repeat; each further one has the next
	Repeat int
	Engine EngineName
	File   File
	Links  []Link // multiplied out

	Transports []Transport

	// Window and RTO are those of the textbook protocols, in packets and as a
	// fixed time; 0 leaves them to the protocol. Payload bounds every
	// transport's datagrams over UDP, in bytes; 0 leaves it to path MTU
	// discovery.
	Window  int
	RTO     time.Duration
	Payload int

	// Timeout ends a run that has not ended by itself: simulated time with
	// [Sim], time on the wall with the others. 0 means [DefaultTimeout].
	Timeout time.Duration

	// Source is the text that the plan was read from, for reports, and file its
	// name, for errors.
	Source, file string
}

// DefaultTimeout is how long a run may take.
const DefaultTimeout = time.Hour

// EngineName names what moves the bytes.
type EngineName string

// Engines.
const (
	// Sim is the simulator: simulated time, the same to the byte every time.
	Sim EngineName = "sim"
	// Loopback is this machine's loopback, with the link imitated by this
	// process in front of the sockets.
	Loopback EngineName = "loopback"
	// Wire is a bad link between two hosts made of namespaces ("link" in
	// plans): the kernel's own TCP and UDP with all that belongs to them.
	Wire EngineName = "link"
)

// File is what is sent.
type File struct {
	Size    units.Size // bytes
	Pattern Pattern
}

// Pattern is what the file is made of. It matters where something on the way
// compresses; nothing of ours does. The simulator sends a pattern of its own.
type Pattern string

// Patterns.
const (
	Random Pattern = "random" // from the seed; the default
	Zeros  Pattern = "zeros"
	Count  Pattern = "count" // 64-bit numbers counting up, big-endian
)

// A Link is the wire between the two ends; the impairments hold each way. The
// fields are those of [netem.Config] and zero means the same.
type Link struct {
	Rate                              units.Rate
	Delay, Jitter                     time.Duration
	Loss, Reorder, Duplicate, Corrupt units.Probability
	Gilbert                           *netem.GilbertElliott
	Queue                             units.Size
}

// Config is the link as package netem knows it, without seed and direction.
func (l Link) Config() netem.Config {
	return netem.Config{
		Rate: l.Rate, Delay: l.Delay, Jitter: l.Jitter, Loss: l.Loss, Reorder: l.Reorder,
		Duplicate: l.Duplicate, Corrupt: l.Corrupt, Gilbert: l.Gilbert, Queue: l.Queue,
	}
}

// MeanLoss is the share of packets that the link loses by itself in the long
// run, each way.
func (l Link) MeanLoss() float64 {
	p := float64(l.Loss)
	if l.Gilbert != nil {
		p = 1 - (1-p)*(1-float64(l.Gilbert.Mean()))
	}
	return p
}

// RTT is the round-trip time of an empty link.
func (l Link) RTT() time.Duration { return 2 * l.Delay }

// String names the link by all that it does: "20Mbit, 25ms, loss 1%".
func (l Link) String() string {
	var s []string
	add := func(yes bool, format string, v any) {
		if yes {
			s = append(s, fmt.Sprintf(format, v))
		}
	}
	add(l.Rate > 0, "%v", l.Rate)
	add(l.Delay > 0, "%v", l.Delay)
	add(l.Jitter > 0, "jitter %v", l.Jitter)
	add(l.Loss > 0, "loss %v", l.Loss)
	if g := l.Gilbert; g != nil {
		s = append(s, fmt.Sprintf("bursts %v %v %v %v", g.P, g.R, g.LossBad, g.LossGood))
	}
	add(l.Reorder > 0, "reorder %v", l.Reorder)
	add(l.Duplicate > 0, "duplicate %v", l.Duplicate)
	add(l.Corrupt > 0, "corrupt %v", l.Corrupt)
	add(l.Queue > 0, "queue %v", l.Queue)
	if len(s) == 0 {
		return "perfect"
	}
	return strings.Join(s, ", ")
}

// Transport is what carries the file, as plans spell it.
type Transport string

// Transports.
const (
	TCPCubic        Transport = "tcp:cubic"
	TCPBBR          Transport = "tcp:bbr"
	UDP             Transport = "udp"
	UDPCubic        Transport = "udp:cubic"
	GoBackN         Transport = "udp:go-back-n"
	SelectiveRepeat Transport = "udp:selective-repeat"
	StopAndWait     Transport = "udp:stop-and-wait"
	None            Transport = "udp:none"
)

// Transports lists all of them.
var Transports = []Transport{TCPCubic, TCPBBR, UDP, UDPCubic, GoBackN, SelectiveRepeat, StopAndWait, None}

// IsTCP tells whether it is TCP.
func (t Transport) IsTCP() bool { return strings.HasPrefix(string(t), "tcp:") }

// Variant is what stands behind the colon: a congestion control for TCP, a
// congestion control or a textbook protocol for UDP. It is empty for "udp".
func (t Transport) Variant() string {
	_, v, _ := strings.Cut(string(t), ":")
	return v
}

// IsTextbook tells whether it is a protocol out of a textbook, which Plan.Window
// and Plan.RTO are for.
func (t Transport) IsTextbook() bool {
	return t == GoBackN || t == SelectiveRepeat || t == StopAndWait
}

// A Run is one transfer of a plan.
type Run struct {
	Plan      *Plan
	Link      Link
	Transport Transport
	Repeat    int    // from 1
	Seed      uint64 // Plan.Seed + Repeat - 1
	Number    int    // from 1, in the plan's order
	Cell      int    // number of its link and transport, from 0
}

// Runs lists the transfers, the repeats of one link and transport together. The
// seed depends on nothing but the repeat, so that all transports meet the same
// draws, which is what makes their comparison sharp.
func (p *Plan) Runs() []Run {
	runs := make([]Run, 0, len(p.Links)*len(p.Transports)*p.Repeat)
	cell := 0
	for _, l := range p.Links {
		for _, t := range p.Transports {
			for i := range p.Repeat {
				runs = append(runs, Run{Plan: p, Link: l, Transport: t, Repeat: i + 1, Seed: p.Seed + uint64(i), Number: len(runs) + 1, Cell: cell})
			}
			cell++
		}
	}
	return runs
}

// Key names all that decides how the run goes, and nothing else: a row of
// results belongs to a run if the keys are equal. It does not depend on the
// other links, transports and repeats, so that a plan can grow and keep what it
// has.
func (r Run) Key() string {
	p := r.Plan
	id := struct {
		Engine       EngineName
		Size         units.Size
		Pattern      Pattern
		Link         string
		Transport    Transport
		Seed         uint64
		Window       int
		RTO, Timeout time.Duration
		Payload      int
	}{Engine: p.Engine, Size: p.File.Size, Pattern: p.File.Pattern, Link: r.Link.String(), Transport: r.Transport, Seed: r.Seed, Timeout: p.timeout(), Payload: p.Payload}
	if r.Transport.IsTextbook() {
		id.Window, id.RTO = p.Window, p.RTO
	}
	b, err := json.Marshal(id)
	if err != nil {
		panic(err) // strings and numbers
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

func (p *Plan) timeout() time.Duration {
	if p.Timeout == 0 {
		return DefaultTimeout
	}
	return p.Timeout
}

// cannot says what the plan's engine cannot do.
func (p *Plan) cannot(format string, args ...any) error {
	return PlanErrors{{File: p.file, Key: "engine", Problem: fmt.Sprintf(format, args...)}}
}
