package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/wherry-net/wherry/resolve"
	"github.com/wherry-net/wherry/resolve/cache"
	"github.com/wherry-net/wherry/resolve/format"
)

// A shell is the interactive prompt: nslookup's commands, and questions as on
// the command line. What is set stays set for the questions after it.
type shell struct {
	l       *lookup
	out     io.Writer
	pending bool     // the end was asked for
	names   []string // asked for before, for completion
}

const shellHelp = `  NAME [TYPE...] [@SERVER...]   look NAME up; an address gives the names it stands for
  server [S...]                 ask these servers from now on; without S, the system's
  set type=T[,T]                ask for these types (set q=T works too; set type=default)
  set class=C                   ask in class IN, CH or HS
  set format=F                  print as nslookup, dig, short, table, json or csv
  set timeout=DUR               give up on a question after DUR, as 5s (nslookup's plain seconds work too)
  set retry=N                   ask a silent server N times more
  set [no]recurse               ask the server to find the answer, or for what it knows
  set [no]search                complete short names from the search list, or do not
  set [no]do, [no]cd, [no]nsid  DNSSEC's signatures, no validation, the server's identity
  set all                       show what is set
  cache                         show the answers of this session, TTLs counting down
  help, exit                    this text, the end (Ctrl-D)
  Tab completes commands, settings, types and names; Up and Down go through the history.
`

// interactive reads lines from the terminal until the end of input.
func interactive(ctx context.Context, l *lookup) error {
	in, ok1 := l.io.In.(*os.File)
	out, ok2 := l.io.Out.(*os.File)
	if !ok1 || !ok2 {
		return usagef("the prompt needs a terminal")
	}
	fd := int(in.Fd())
	old, err := term.MakeRaw(fd)
	if err != nil {
		return fmt.Errorf("set up the terminal: %w", err)
	}
	defer term.Restore(fd, old)
	t := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{in, out}, "> ")
	if w, h, err := term.GetSize(int(out.Fd())); err == nil && w > 0 {
		_ = t.SetSize(w, h)
	}
	sh := newShell(l, t)
	t.AutoCompleteCallback = sh.complete
	fmt.Fprintf(t, "wherry lookup. 'help' tells the commands, Ctrl-D ends.\n")

	// Ctrl-C ends a question, not the prompt; TERM ends the prompt. The
	// terminal is cooked while a question is out, so that Ctrl-C is a signal.
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	defer signal.Stop(stop)
	type input struct {
		line string
		err  error
	}
	lines := make(chan input)
	next := make(chan struct{}, 1)
	defer close(next)
	go func() { // a read from a terminal cannot be called off
		for range next {
			line, err := t.ReadLine()
			lines <- input{line, err}
		}
	}()
	for !sh.pending {
		next <- struct{}{}
		var got input
		select {
		case got = <-lines:
		case <-stop:
			return &lookupInterrupted{context.Canceled}
		}
		if errors.Is(got.err, term.ErrPasteIndicator) {
			got.err = nil
		}
		if got.err != nil {
			if got.err == io.EOF {
				fmt.Fprintln(t)
				return nil
			}
			return fmt.Errorf("read from the terminal: %w", got.err)
		}
		if err := term.Restore(fd, old); err != nil {
			return fmt.Errorf("set up the terminal: %w", err)
		}
		qctx, cancel := signal.NotifyContext(context.WithoutCancel(ctx), os.Interrupt)
		sh.out = out
		sh.run(qctx, got.line)
		cancel()
		sh.out = t
		if _, err := term.MakeRaw(fd); err != nil {
			return fmt.Errorf("set up the terminal: %w", err)
		}
	}
	return nil
}

func newShell(l *lookup, out io.Writer) *shell {
	cp := *l
	if cp.cache == nil {
		cp.cache = new(cache.Cache) // of this session
	}
	return &shell{l: &cp, out: out}
}

// run carries out one line.
func (s *shell) run(ctx context.Context, line string) {
	words := strings.Fields(line)
	if len(words) == 0 {
		return
	}
	switch strings.ToLower(words[0]) {
	case "exit", "quit":
		s.pending = true
	case "help", "?":
		fmt.Fprint(s.out, shellHelp)
	case "server", "lserver":
		s.server(words[1:])
	case "set":
		s.set(words[1:])
	case "cache":
		now := time.Now()
		if err := format.CacheList(s.out, s.l.kind, s.l.cache.Entries(now), now, format.Options{Colour: s.l.colour}); err != nil {
			s.complain(err)
		}
	default:
		s.ask(ctx, words)
	}
}

func (s *shell) complain(err error) {
	f := classify(err)
	fmt.Fprintln(s.out, f.message)
	if f.hint != "" {
		fmt.Fprintln(s.out, "hint: "+f.hint)
	}
}

func (s *shell) server(words []string) {
	l := *s.l
	l.upstreams = nil
	for _, w := range words {
		if err := l.addServer(w); err != nil {
			s.complain(err)
			return
		}
	}
	s.l.upstreams = l.upstreams
	if len(words) == 0 {
		fmt.Fprintln(s.out, "asking the system's servers")
		return
	}
	for _, u := range l.upstreams {
		fmt.Fprintf(s.out, "asking %s\n", u)
	}
}

func (s *shell) ask(ctx context.Context, words []string) {
	l := *s.l
	l.io = stdio{In: s.l.io.In, Out: s.out, Err: s.out}
	var rest []string
	first := true
	for _, w := range words {
		if !strings.HasPrefix(w, "@") {
			rest = append(rest, w)
			continue
		}
		if first { // servers named here are for this question only
			l.upstreams, first = nil, false
		}
		if err := l.addServer(w); err != nil {
			s.complain(err)
			return
		}
	}
	if len(rest) == 0 {
		s.server(words)
		return
	}
	if len(rest) > 1 {
		l.types = nil
	}
	for _, w := range rest[1:] {
		if !l.addType(w) {
			s.complain(unknownType("", w))
			return
		}
	}
	if err := l.setName(rest[0], false); err != nil {
		s.complain(err)
		return
	}
	if !slices.Contains(s.names, rest[0]) && len(s.names) < 1000 {
		s.names = append(s.names, rest[0])
	}
	var err error
	if slices.ContainsFunc(l.types, resolve.IsTransfer) {
		err = l.transfer(ctx)
	} else {
		err = l.ask(ctx)
	}
	var shown *shownError
	if err != nil && !errors.As(err, &shown) {
		s.complain(err)
	}
}

// settings that take a value, and those that are on or off.
var (
	shellValues   = []string{"type", "class", "format", "timeout", "retry"}
	shellSwitches = []string{"recurse", "search", "do", "cd", "nsid"}
)

func (s *shell) set(words []string) {
	if len(words) == 0 {
		words = []string{"all"}
	}
	for _, w := range words {
		name, value, hasValue := strings.Cut(w, "=")
		if err := s.setOne(strings.ToLower(name), value, hasValue); err != nil {
			s.complain(err)
			return
		}
	}
}

func (s *shell) setOne(name, value string, hasValue bool) error {
	l := s.l
	if !hasValue {
		bare, off := strings.CutPrefix(name, "no")
		switch {
		case name == "all":
			s.show()
			return nil
		case slices.Contains(shellSwitches, bare):
		case slices.Contains(shellSwitches, name): // "nsid" begins with no letter "no", but be exact
			bare, off = name, false
		default:
			return usagef("there is no setting %s", quoteArg(name)).hint("'help' tells the settings")
		}
		switch bare {
		case "recurse":
			l.options.NoRecurse = off
		case "search":
			l.noSearch = off
		case "do":
			l.options.DNSSEC = !off
		case "cd":
			l.options.CheckingDisabled = !off
		case "nsid":
			l.options.NSID = !off
		}
		return nil
	}
	switch name {
	case "type", "querytype", "q", "ty":
		cp := *l
		cp.types, cp.typeGiven, cp.serial = nil, false, nil
		for t := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(t, "default") {
				continue
			}
			if !cp.addType(t) {
				return unknownType("", t)
			}
		}
		l.types, l.typeGiven, l.serial = cp.types, cp.typeGiven, cp.serial
	case "class", "cl":
		c, ok := resolve.ParseClass(value)
		if !ok {
			return usagef("there is no class %s", quoteArg(value))
		}
		l.class = c
	case "format":
		k, err := format.ParseKind(value)
		if err != nil {
			return usagef("%w", err)
		}
		l.kind = k
	case "timeout":
		d, err := time.ParseDuration(value)
		if err != nil {
			d, err = time.ParseDuration(value + "s")
		}
		if err != nil || d <= 0 {
			return usagef("the timeout must be a duration, as 5s, not %s", quoteArg(value))
		}
		l.options.Timeout = d
	case "retry":
		var n int
		if _, err := fmt.Sscanf(value, "%d", &n); err != nil || n < 0 || n > 100 {
			return usagef("retry must be 0 to 100, not %s", quoteArg(value))
		}
		l.options.Tries = n + 1
	default:
		return usagef("there is no setting %s", quoteArg(name)).hint("'help' tells the settings")
	}
	return nil
}

func (s *shell) show() {
	l := s.l
	types := "default"
	if l.typeGiven {
		var names []string
		for _, t := range l.types {
			names = append(names, resolve.TypeName(t))
		}
		types = strings.Join(names, ",")
	}
	servers := "the system's"
	if len(l.upstreams) > 0 {
		var names []string
		for _, u := range l.upstreams {
			names = append(names, u.String())
		}
		servers = strings.Join(names, " ")
	}
	timeout := "default"
	if l.options.Timeout > 0 {
		timeout = l.options.Timeout.String()
	}
	onOff := func(on bool, name string) string {
		if on {
			return name
		}
		return "no" + name
	}
	fmt.Fprintf(s.out, "server %s\nset type=%s class=%s format=%s timeout=%s\nset %s %s %s %s %s\n", servers,
		types, resolve.ClassName(l.class), l.kind, timeout,
		onOff(!l.options.NoRecurse, "recurse"), onOff(!l.noSearch, "search"), onOff(l.options.DNSSEC, "do"),
		onOff(l.options.CheckingDisabled, "cd"), onOff(l.options.NSID, "nsid"))
}

// complete is the terminal's callback for keys: on Tab it completes the word
// before the cursor as far as all candidates agree, and lists them if that is
// nowhere.
func (s *shell) complete(line string, pos int, key rune) (string, int, bool) {
	if key != '\t' {
		return "", 0, false
	}
	start := strings.LastIndexByte(line[:pos], ' ') + 1
	word := line[start:pos]
	var fits []string
	for _, c := range s.candidates(strings.Fields(line[:start])) {
		if len(c) >= len(word) && strings.EqualFold(c[:len(word)], word) {
			fits = append(fits, c)
		}
	}
	if len(fits) == 0 {
		return line, pos, true
	}
	slices.Sort(fits)
	fits = slices.Compact(fits)
	done := fits[0]
	for _, f := range fits[1:] {
		n := 0
		for n < len(done) && n < len(f) && strings.EqualFold(done[n:n+1], f[n:n+1]) {
			n++
		}
		done = done[:n]
	}
	if len(fits) == 1 && !strings.HasSuffix(done, "=") {
		done += " "
	}
	if len(done) <= len(word) {
		if len(fits) > 40 {
			fits = append(fits[:40], "…")
		}
		fmt.Fprintln(s.out, strings.Join(fits, "  "))
		return line, pos, true
	}
	return line[:start] + done + line[pos:], start + len(done), true
}

// candidates are the words that can follow those before the cursor.
func (s *shell) candidates(before []string) []string {
	if len(before) == 0 {
		return append([]string{"server", "set", "cache", "help", "exit"}, s.names...)
	}
	switch strings.ToLower(before[0]) {
	case "set":
		var out []string
		for _, v := range shellValues {
			out = append(out, v+"=")
		}
		for _, v := range shellSwitches {
			out = append(out, v, "no"+v)
		}
		for _, t := range resolve.TypeNames() {
			out = append(out, "type="+t)
		}
		for k := format.Nslookup; k <= format.CSV; k++ {
			out = append(out, "format="+k.String())
		}
		return append(out, "all", "class=IN", "class=CH", "class=HS")
	case "server", "lserver":
		return []string{"udp://", "tcp://", "tls://", "https://", "h3://", "quic://"}
	case "help", "exit", "quit", "cache", "?":
		return nil
	}
	return resolve.TypeNames()
}
