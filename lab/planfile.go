package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/wherry-net/wherry/socket/netem"
	"github.com/wherry-net/wherry/socket/rudp/arq"
	"github.com/wherry-net/wherry/socket/safetext"
	"github.com/wherry-net/wherry/socket/units"
)

// A PlanError is one mistake in a plan.
type PlanError struct {
	File    string // as it was named, safe to print
	Line    int    // from 1; 0 where it is of the whole file
	Key     string // the path to it, as links[1].rate; may be empty
	Problem string
}

func (e *PlanError) Error() string {
	s := e.File
	if e.Line > 0 {
		s += ":" + strconv.Itoa(e.Line)
	}
	if e.Key != "" {
		s += ": " + e.Key
	}
	return s + ": " + e.Problem
}

// PlanErrors are the mistakes in a plan, in the order of their lines. It is never
// empty.
type PlanErrors []*PlanError

func (e PlanErrors) Error() string {
	s := make([]string, len(e))
	for i := range e {
		s[i] = e[i].Error()
	}
	return strings.Join(s, "\n")
}

// maxErrors is how many mistakes are told at once.
const maxErrors = 8

// ReadPlan reads a plan in YAML, checks the whole of it and multiplies its lists
// out; see the package documentation. name is the file's, for errors, which are
// [PlanErrors] unless r fails. engine, if not empty, takes the place of the
// plan's own.
func ReadPlan(r io.Reader, name string, engine EngineName) (*Plan, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxPlan+1))
	if err != nil {
		return nil, fmt.Errorf("read the plan: %w", err)
	}
	f := &planFile{name: safetext.Clean(name)}
	if len(b) > MaxPlan {
		f.bad(0, "", "a plan has at most %v", units.Size(MaxPlan))
		return nil, f.errors()
	}
	root := f.document(b)
	var p *Plan
	if root != nil {
		p = f.plan(root, engine)
	}
	if err := f.errors(); err != nil {
		return nil, err
	}
	p.Source, p.file = string(b), f.name
	return p, nil
}

type planFile struct {
	name string
	errs PlanErrors
}

func (f *planFile) bad(line int, key, format string, args ...any) {
	f.errs = append(f.errs, &PlanError{File: f.name, Line: line, Key: key, Problem: fmt.Sprintf(format, args...)})
}

func (f *planFile) errors() error {
	if len(f.errs) == 0 {
		return nil
	}
	slices.SortStableFunc(f.errs, func(a, b *PlanError) int { return a.Line - b.Line })
	return f.errs[:min(len(f.errs), maxErrors)]
}

// document is the one document's root.
func (f *planFile) document(b []byte) (root *yaml.Node) {
	// A fault of the parser is a bad plan, not the end of the program.
	defer func() {
		if r := recover(); r != nil {
			f.bad(0, "", "this is not YAML")
			root = nil
		}
	}()
	if !utf8.Valid(b) {
		f.bad(0, "", "this is not UTF-8 text")
		return nil
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	var doc, more yaml.Node
	err := d.Decode(&doc)
	switch {
	case errors.Is(err, io.EOF):
		f.bad(0, "", "there is nothing in it")
		return nil
	case err != nil:
		text, line := strings.TrimPrefix(err.Error(), "yaml: "), 0
		if rest, ok := strings.CutPrefix(text, "line "); ok {
			if number, what, ok := strings.Cut(rest, ": "); ok {
				text = what
				line, _ = strconv.Atoi(number)
			}
		}
		f.bad(line, "", "not YAML: %s", safetext.Clean(text))
		return nil
	}
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		f.bad(more.Line, "", "a second document; a plan is one")
		return nil
	}
	if len(doc.Content) != 1 {
		f.bad(0, "", "there is nothing in it")
		return nil
	}
	return doc.Content[0]
}

// A field reads the value of a key.
type field struct {
	name string
	read func(n *yaml.Node, key string)
}

// mapping hands the values of a mapping to fields.
func (f *planFile) mapping(n *yaml.Node, path string, fields []field) {
	if n.Kind != yaml.MappingNode {
		f.bad(n.Line, path, "want keys and values here (%s), not %s", names(fields), what(n))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		key := join(path, safetext.Truncate(k.Value, 60))
		at := slices.IndexFunc(fields, func(x field) bool { return x.name == k.Value })
		switch {
		case k.Kind != yaml.ScalarNode:
			f.bad(k.Line, path, "a key must be a word, not %s", what(k))
		case at < 0:
			f.bad(k.Line, key, "there is no such key; %s", suggest(k.Value, fields))
		case seen[k.Value]:
			f.bad(k.Line, key, "stands here twice")
		default:
			seen[k.Value] = true
			fields[at].read(v, key)
		}
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func names(fields []field) string {
	s := make([]string, len(fields))
	for i := range fields {
		s[i] = fields[i].name
	}
	return strings.Join(s, ", ")
}

func what(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias, which plans do not have"
	}
	if n.Tag == "!!null" {
		return "nothing"
	}
	return `"` + safetext.Truncate(n.Value, 60) + `"`
}

// scalar reads one value by parse, which says what is wrong with it.
func (f *planFile) scalar(parse func(s string) error) func(n *yaml.Node, key string) {
	return func(n *yaml.Node, key string) {
		if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
			f.bad(n.Line, key, "want one value, not %s", what(n))
			return
		}
		if len(n.Value) > MaxName {
			f.bad(n.Line, key, "want at most %d bytes, not %d", MaxName, len(n.Value))
			return
		}
		if err := parse(n.Value); err != nil {
			f.bad(n.Line, key, "%v", err) // our own parsers quote what they were given
		}
	}
}

// whole reads a number in [lo, hi].
func (f *planFile) whole(to *int, lo, hi int) func(n *yaml.Node, key string) {
	return f.scalar(func(s string) error {
		v, err := strconv.Atoi(s)
		if err != nil || v < lo || v > hi {
			return fmt.Errorf("want a number from %d to %d, not %s", lo, hi, safetext.Quote(s))
		}
		*to = v
		return nil
	})
}

// span reads a time in [lo, hi].
func (f *planFile) span(to *time.Duration, lo, hi time.Duration) func(n *yaml.Node, key string) {
	return f.scalar(func(s string) error {
		d, err := units.ParseDuration(s)
		if err != nil {
			return err
		}
		if d < lo || d > hi {
			return fmt.Errorf("want %v to %v, not %v", lo, hi, d)
		}
		*to = d
		return nil
	})
}

// oneOf reads one of a few words.
func oneOf[T ~string](f *planFile, to *T, words ...T) func(n *yaml.Node, key string) {
	return f.scalar(func(s string) error {
		if i := slices.Index(words, T(s)); i >= 0 {
			*to = words[i]
			return nil
		}
		list := make([]field, len(words))
		for i := range words {
			list[i].name = string(words[i])
		}
		return fmt.Errorf("%s is not known; %s", safetext.Quote(s), suggest(s, list))
	})
}

// list hands each element of a list to read; one value alone is a list of one.
func list(n *yaml.Node, key string, read func(n *yaml.Node, key string)) {
	if n.Kind != yaml.SequenceNode {
		read(n, key)
		return
	}
	for i, e := range n.Content {
		read(e, fmt.Sprintf("%s[%d]", key, i))
	}
}

func (f *planFile) plan(root *yaml.Node, engine EngineName) *Plan {
	p := &Plan{Repeat: 1, Engine: Sim, File: File{Pattern: Random}}
	var links, transports, file *yaml.Node
	note := func(to **yaml.Node) func(n *yaml.Node, key string) {
		return func(n *yaml.Node, _ string) { *to = n }
	}
	f.mapping(root, "", []field{
		{"name", f.scalar(func(s string) error {
			if s == "" {
				return errors.New("want a name, or leave the key out")
			}
			p.Name = s
			return nil
		})},
		{"seed", f.scalar(func(s string) error {
			v, err := strconv.ParseUint(s, 10, 63)
			if err != nil {
				return fmt.Errorf("want a number from 0 to %d, not %s", uint64(1)<<63-1, safetext.Quote(s))
			}
			p.Seed = v
			return nil
		})},
		{"repeat", f.whole(&p.Repeat, 1, MaxRepeat)},
		{"engine", oneOf(f, &p.Engine, Sim, Loopback, Wire)},
		{"file", note(&file)},
		{"links", note(&links)},
		{"transports", note(&transports)},
		{"window", f.whole(&p.Window, 1, 1<<16)},
		{"rto", f.span(&p.RTO, time.Millisecond, time.Minute)},
		{"payload", f.whole(&p.Payload, arq.MinDatagram, arq.MaxDatagram)},
		{"timeout", f.span(&p.Timeout, time.Millisecond, MaxTimeout)},
	})
	if root.Kind != yaml.MappingNode {
		return nil
	}
	if engine != "" {
		p.Engine = engine
	}
	if p.Name == "" {
		p.Name = "experiment"
	}
	f.file(p, file, root.Line)
	f.transports(p, transports, root.Line)
	f.links(p, links, root.Line)
	if n := len(p.Links) * len(p.Transports) * p.Repeat; n > MaxRuns {
		f.bad(root.Line, "", "%d links × %d transports × %d repeats are %d runs; want at most %d", len(p.Links), len(p.Transports), p.Repeat, n, MaxRuns)
	}
	return p
}

func (f *planFile) file(p *Plan, n *yaml.Node, line int) {
	if n == nil {
		f.bad(line, "file", "is missing: what is to be sent? As in 'file: {size: 10MiB}'")
		return
	}
	before := len(f.errs)
	f.mapping(n, "file", []field{
		{"size", f.scalar(func(s string) error {
			v, err := units.ParseSize(s)
			if err != nil {
				return err
			}
			if v < 1 || v > MaxFile {
				return fmt.Errorf("want 1B to %v, not %v", units.Size(MaxFile), v)
			}
			p.File.Size = v
			return nil
		})},
		{"pattern", oneOf(f, &p.File.Pattern, Random, Zeros, Count)},
	})
	if p.File.Size == 0 && len(f.errs) == before {
		f.bad(n.Line, "file.size", "is missing, as in 'file: {size: 10MiB}'")
	}
}

func (f *planFile) transports(p *Plan, n *yaml.Node, line int) {
	if n == nil || n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		f.bad(line, "transports", "is missing, as in 'transports: [udp, tcp:cubic]'")
		return
	}
	list(n, "transports", func(n *yaml.Node, key string) {
		var t Transport
		oneOf(f, &t, Transports...)(n, key)
		switch {
		case t == "":
		case slices.Contains(p.Transports, t):
			f.bad(n.Line, key, "%s stands here twice", t)
		default:
			p.Transports = append(p.Transports, t)
		}
	})
}

// axis is a field of a link with the values it is to take.
type axis struct {
	name string
	set  []func(*Link)
	line int
}

func (f *planFile) links(p *Plan, n *yaml.Node, line int) {
	if n == nil || n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		f.bad(line, "links", "is missing, as in 'links: [{rate: 20Mbit, delay: 25ms, loss: 1%%}]'")
		return
	}
	lines := map[string]int{}
	list(n, "links", func(n *yaml.Node, key string) { f.link(p, n, key, lines) })
}

// link reads one entry of links, which may stand for many.
func (f *planFile) link(p *Plan, n *yaml.Node, path string, lines map[string]int) {
	var axes []axis
	before := len(f.errs)
	// values makes a reader of one value or a list of them.
	values := func(name string, parse func(s string) (func(*Link), error)) field {
		return field{name, func(n *yaml.Node, key string) {
			a := axis{name: name, line: n.Line}
			list(n, key, func(n *yaml.Node, key string) {
				f.scalar(func(s string) error {
					set, err := parse(s)
					a.set = append(a.set, set)
					return err
				})(n, key)
			})
			if len(a.set) == 0 && len(f.errs) == before {
				f.bad(n.Line, key, "an empty list makes no link")
			}
			axes = append(axes, a)
		}}
	}
	share := func(name string, of func(*Link) *units.Probability) field {
		return values(name, func(s string) (func(*Link), error) {
			v, err := units.ParseProbability(s)
			if err == nil && v == 1 {
				err = errors.New("100% would leave nothing")
			}
			return func(l *Link) { *of(l) = v }, err
		})
	}
	span := func(name string, of func(*Link) *time.Duration) field {
		return values(name, func(s string) (func(*Link), error) {
			v, err := units.ParseDuration(s)
			return func(l *Link) { *of(l) = v }, err
		})
	}
	f.mapping(n, path, []field{
		values("rate", func(s string) (func(*Link), error) {
			v, err := units.ParseRate(s)
			if err == nil && v < MinRate {
				err = fmt.Errorf("want at least %v, not %v; without a rate the link has no bottleneck", units.Rate(MinRate), v)
			}
			return func(l *Link) { l.Rate = v }, err
		}),
		span("delay", func(l *Link) *time.Duration { return &l.Delay }),
		span("jitter", func(l *Link) *time.Duration { return &l.Jitter }),
		share("loss", func(l *Link) *units.Probability { return &l.Loss }),
		values("gemodel", func(s string) (func(*Link), error) {
			g, err := netem.ParseGilbertElliott(s)
			return func(l *Link) { l.Gilbert = g }, err
		}),
		share("reorder", func(l *Link) *units.Probability { return &l.Reorder }),
		share("duplicate", func(l *Link) *units.Probability { return &l.Duplicate }),
		share("corrupt", func(l *Link) *units.Probability { return &l.Corrupt }),
		values("queue", func(s string) (func(*Link), error) {
			v, err := units.ParseSize(s)
			if err == nil && v < minQueue {
				err = fmt.Errorf("want at least %v, a packet's worth, not %v", units.Size(minQueue), v)
			}
			return func(l *Link) { l.Queue = v }, err
		}),
	})
	if len(f.errs) > before || n.Kind != yaml.MappingNode {
		return
	}
	total := 1
	for _, a := range axes {
		if total *= len(a.set); total > MaxLinks {
			break
		}
	}
	if len(p.Links)+total > MaxLinks {
		f.bad(n.Line, path, "more than %d links", MaxLinks)
		return
	}
	// The last key of an entry varies fastest, as an odometer's last wheel.
	for i := range total {
		var l Link
		for j, rest := len(axes)-1, i; j >= 0; j-- {
			k := len(axes[j].set)
			axes[j].set[rest%k](&l)
			rest /= k
		}
		if !f.addLink(p, l, n.Line, path, axes, lines) {
			return
		}
	}
}

// minQueue lets the largest ordinary packet through.
const minQueue = 1500

// addLink adds l unless no link can be so, or it is there already.
func (f *planFile) addLink(p *Plan, l Link, line int, path string, axes []axis, lines map[string]int) bool {
	cfg := l.Config()
	if err := cfg.Validate(); err != nil {
		// The error begins with the field's name, as ours are.
		text := err.Error()
		key := path
		for _, a := range axes {
			if rest, ok := strings.CutPrefix(text, a.name+" "); ok {
				line, key, text = a.line, join(path, a.name), rest
			}
		}
		f.bad(line, key, "%s", text)
		return false
	}
	name := l.String()
	if at, twice := lines[name]; twice {
		f.bad(line, path, "the link %s is in line %d already", name, at)
		return false
	}
	lines[name] = line
	p.Links = append(p.Links, l)
	return true
}
