package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

const goodPlan = `name: good
seed: 7
repeat: 2
engine: sim
file: {size: 1MiB, pattern: zeros}
links:
  - {rate: 20Mbit, delay: [5ms, 25ms], loss: [0, 1%]}
  - {rate: 2Mbit, delay: 0.3s, jitter: 1ms, reorder: 0.1%, queue: 64KiB, gemodel: "1% 25%"}
transports: [udp, tcp:cubic, tcp:bbr]
`

func read(s string) (*Plan, error) { return ReadPlan(strings.NewReader(s), "plan.yaml", "") }

func TestReadPlan(t *testing.T) {
	p, err := read(goodPlan)
	if err != nil {
		t.Fatal(err)
	}
	var links []string
	for _, l := range p.Links {
		links = append(links, l.String())
	}
	want := []string{
		"20Mbit, 5ms", "20Mbit, 5ms, loss 1%", "20Mbit, 25ms", "20Mbit, 25ms, loss 1%",
		"2Mbit, 300ms, jitter 1ms, bursts 1% 25% 100% 0%, reorder 0.1%, queue 64KiB",
	}
	if !reflect.DeepEqual(links, want) {
		t.Errorf("links %q, want %q", links, want)
	}
	if p.Name != "good" || p.Seed != 7 || p.Repeat != 2 || p.Engine != Sim || p.File != (File{1 << 20, Zeros}) {
		t.Errorf("%+v", p)
	}
	if want := []Transport{UDP, TCPCubic, TCPBBR}; !reflect.DeepEqual(p.Transports, want) {
		t.Errorf("transports %q, want %q", p.Transports, want)
	}
	runs := p.Runs()
	if len(runs) != 5*3*2 {
		t.Fatalf("%d runs, want 30", len(runs))
	}
	keys := map[string]bool{}
	for i, r := range runs {
		if r.Number != i+1 || r.Seed != 7+uint64(r.Repeat)-1 || r.Cell != i/2 {
			t.Errorf("run %d: %+v", i, r)
		}
		keys[r.Key()] = true
	}
	if len(keys) != len(runs) {
		t.Errorf("%d runs share %d keys", len(runs), len(keys))
	}
	// The same run in a plan that has grown keeps its key.
	grown, err := read(strings.Replace(strings.Replace(goodPlan, "repeat: 2", "repeat: 3", 1), "loss: [0, 1%]", "loss: [2%, 0, 1%]", 1))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range grown.Runs() {
		delete(keys, r.Key())
	}
	if len(keys) != 0 {
		t.Errorf("%d runs have other keys in a larger plan", len(keys))
	}
}

func TestPlanDefaults(t *testing.T) {
	p, err := read("file: {size: 1}\nlinks: [{}]\ntransports: udp\n")
	if err != nil {
		t.Fatal(err)
	}
	if p.Repeat != 1 || p.Engine != Sim || p.File.Pattern != Random || p.timeout() != time.Hour || len(p.Links) != 1 || p.Links[0].String() != "perfect" {
		t.Errorf("%+v", p)
	}
	if p, err = ReadPlan(strings.NewReader("engine: link\nfile: {size: 1}\nlinks: [{}]\ntransports: udp\n"), "", Sim); err != nil || p.Engine != Sim {
		t.Errorf("lab sim: %v, %v", p, err)
	}
}

func TestPlanErrors(t *testing.T) {
	const rest = "file: {size: 1MiB}\nlinks: [{rate: 1Mbit}]\ntransports: [udp]\n"
	for _, c := range []struct{ name, plan, want string }{
		{"empty", "", "plan.yaml: there is nothing in it"},
		{"a word", "hello", "plan.yaml:1: want keys and values here (name, seed, repeat, engine, file, links, transports, window, rto, payload, timeout), not \"hello\""},
		{"not YAML", "a: [1\nb: 2", "plan.yaml:1: not YAML: did not find expected ',' or ']'"},
		{"not text", "a: \xff", "plan.yaml: this is not UTF-8 text"},
		{"two documents", rest + "---\nname: x\n", "plan.yaml:4: a second document; a plan is one"},
		{"unknown key", "transport: [udp]\n" + rest, "plan.yaml:1: transport: there is no such key; did you mean transports?"},
		{"unknown key without likeness", "colour: red\n" + rest, "plan.yaml:1: colour: there is no such key; want one of name, seed, repeat, engine, file, links, transports, window, rto, payload, timeout"},
		{"twice", "seed: 1\nseed: 2\n" + rest, "plan.yaml:2: seed: stands here twice"},
		{"alias", "name: &a x\nengine: *a\n" + rest, "plan.yaml:2: engine: want one value, not an alias, which plans do not have"},
		{"seed", "seed: -1\n" + rest, "plan.yaml:1: seed: want a number from 0 to 9223372036854775807, not \"-1\""},
		{"repeat", "repeat: 0\n" + rest, "plan.yaml:1: repeat: want a number from 1 to 1000, not \"0\""},
		{"repeat list", "repeat: [1, 2]\n" + rest, "plan.yaml:1: repeat: want one value, not a list"},
		{"engine", "engine: simulator\n" + rest, "plan.yaml:1: engine: \"simulator\" is not known; did you mean sim?"},
		{"nothing", "engine:\n" + rest, "plan.yaml:1: engine: want one value, not nothing"},
		{"timeout", "timeout: 2\n" + rest, `plan.yaml:1: timeout: time "2": not understood: want a time such as 25ms, 1.5s or 200us`},
		{"control", "name: \"a\\x1b[31m\"\nengine: \"\\x1b\"\n" + rest, `plan.yaml:2: engine: "\x1b" is not known; want one of sim, loopback, link`},
		{"no file", "links: [{}]\ntransports: [udp]\n", "plan.yaml:1: file: is missing: what is to be sent? As in 'file: {size: 10MiB}'"},
		{"no size", "file: {}\nlinks: [{}]\ntransports: [udp]\n", "plan.yaml:1: file.size: is missing, as in 'file: {size: 10MiB}'"},
		{"size 0", "file: {size: 0}\nlinks: [{}]\ntransports: [udp]\n", "plan.yaml:1: file.size: want 1B to 1TiB, not 0B"},
		{"pattern", "file: {size: 1, pattern: rnd}\nlinks: [{}]\ntransports: [udp]\n", "plan.yaml:1: file.pattern: \"rnd\" is not known; want one of random, zeros, count"},
		{"no links", "file: {size: 1}\nlinks: []\ntransports: [udp]\n", "plan.yaml:1: links: is missing, as in 'links: [{rate: 20Mbit, delay: 25ms, loss: 1%}]'"},
		{"a link", "file: {size: 1}\nlinks:\n - 20Mbit\ntransports: [udp]\n", "plan.yaml:3: links[0]: want keys and values here (rate, delay, jitter, loss, gemodel, reorder, duplicate, corrupt, queue), not \"20Mbit\""},
		{"rate", "file: {size: 1}\nlinks:\n - rate: 20Mbit\n - rate: 10mbps\ntransports: [udp]\n", `plan.yaml:4: links[1].rate: rate "10mbps": not understood: tc counts bytes here and everybody else bits: write 10Mbit or 10MB/s`},
		{"impossible rate", "file: {size: 1}\nlinks:\n - delay: 1ms\n   rate: [1Mbit, 20Tbit]\ntransports: [udp]\n", "plan.yaml:4: links[0].rate: 20Tbit: impossible impairment: want at most 10Tbit"},
		{"rate 0", "file: {size: 1}\nlinks: [{rate: 0}]\ntransports: [udp]\n", "plan.yaml:2: links[0].rate: want at least 1Kbit, not 0bit; without a rate the link has no bottleneck"},
		{"loss", "file: {size: 1}\nlinks: [{loss: [1%, 101%]}]\ntransports: [udp]\n", `plan.yaml:2: links[0].loss[1]: probability "101%": not understood: want a share between 0% and 100%, such as 1% or 0.01`},
		{"all lost", "file: {size: 1}\nlinks: [{loss: 100%}]\ntransports: [udp]\n", "plan.yaml:2: links[0].loss: 100% would leave nothing"},
		{"bursts", "file: {size: 1}\nlinks: [{gemodel: 1 2 3}]\ntransports: [udp]\n", `plan.yaml:2: links[0].gemodel: gemodel "1 2 3": probability "2": not understood: want a share between 0% and 100%, such as 1% or 0.01`},
		{"queue without a rate", "file: {size: 1}\nlinks: [{queue: 64KiB}]\ntransports: [udp]\n", "plan.yaml:2: links[0].queue: 64KiB: impossible impairment: there is no rate for it to wait for"},
		{"queue", "file: {size: 1}\nlinks: [{rate: 1Mbit, queue: 100}]\ntransports: [udp]\n", "plan.yaml:2: links[0].queue: want at least 1500B, a packet's worth, not 100B"},
		{"delay", "file: {size: 1}\nlinks: [{delay: 2h}]\ntransports: [udp]\n", "plan.yaml:2: links[0].delay: 2h0m0s: impossible impairment: want 0 to 1h"},
		{"the same link", "file: {size: 1}\nlinks:\n- {rate: 1Mbit}\n- {rate: [2Mbit, 1000kbit]}\ntransports: [udp]\n", "plan.yaml:4: links[1]: the link 1Mbit is in line 3 already"},
		{"no value", "file: {size: 1}\nlinks: [{rate: []}]\ntransports: [udp]\n", "plan.yaml:2: links[0].rate: an empty list makes no link"},
		{"transport", "file: {size: 1}\nlinks: [{}]\ntransports: [udp, tcp:cubik]\n", "plan.yaml:3: transports[1]: \"tcp:cubik\" is not known; did you mean tcp:cubic?"},
		{"the same transport", "file: {size: 1}\nlinks: [{}]\ntransports: [udp, udp]\n", "plan.yaml:3: transports[1]: udp stands here twice"},
		{"runs", "repeat: 1000\nfile: {size: 1}\nlinks: [{rate: [1Mbit, 2Mbit, 3Mbit, 4Mbit, 5Mbit, 6Mbit]}]\ntransports: [udp, tcp:bbr]\n", "plan.yaml:1: 6 links × 2 transports × 1000 repeats are 12000 runs; want at most 10000"},
		{"links", "file: {size: 1}\nlinks: [{rate: [" + numbers(1, 40, "Mbit") + "], delay: [" + numbers(1, 40, "ms") + "]}]\ntransports: [udp]\n", "plan.yaml:2: links[0]: more than 1000 links"},
		{"several", "sed: 1\nrepeat: x\nfile: {size: 1}\nlinks: [{rat: 1}]\ntransports: [udp]\n", "plan.yaml:1: sed: there is no such key; did you mean seed?\nplan.yaml:2: repeat: want a number from 1 to 1000, not \"x\"\nplan.yaml:4: links[0].rat: there is no such key; did you mean rate?"},
		{"long", strings.Repeat("#", MaxPlan+1), "plan.yaml: a plan has at most 256KiB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := read(c.plan)
			var mistakes PlanErrors
			if !errors.As(err, &mistakes) || err.Error() != c.want {
				t.Errorf("%v\nwant %s", err, c.want)
			}
		})
	}
}

func numbers(from, to int, unit string) string {
	var s []string
	for i := from; i <= to; i++ {
		s = append(s, fmt.Sprint(i, unit))
	}
	return strings.Join(s, ", ")
}

// The plans that wherry shows as examples are plans.
func TestExamplePlans(t *testing.T) {
	files, err := filepath.Glob("../testdata/plans/*.yaml")
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		_, err = ReadPlan(f, name, "")
		f.Close()
		if err != nil {
			t.Error(err)
		}
	}
}

// Whatever is in the file, reading ends with a plan that keeps all bounds or with
// errors that are safe to print, each in a line; and writing the links down and
// reading them again gives the same.
func FuzzReadPlan(f *testing.F) {
	f.Add(goodPlan)
	f.Add("file: {size: 1}\nlinks: [{}]\ntransports: udp\n")
	f.Add("file: {size: 1}\nlinks: [{rate: [1Mbit, 2Mbit], delay: [1ms, 2ms]}]\ntransports: [udp:none, udp:go-back-n]\nwindow: 7\nrto: 100ms")
	f.Add("a: &a [*a, *a]\nlinks: *a")
	f.Add("? {a: b}\n: c\n<<: {x: y}\n--- !!binary x")
	f.Add("name: \"\\x1b\\u202e\"\nengine: \x00")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := read(text)
		if err != nil {
			var mistakes PlanErrors
			if !errors.As(err, &mistakes) || len(mistakes) == 0 {
				t.Fatalf("%T: %v", err, err)
			}
			for _, m := range mistakes {
				if strings.ContainsFunc(m.Error(), func(r rune) bool { return r < 0x20 || r == 0x7f || r == 0x202e }) {
					t.Errorf("%q", m.Error())
				}
			}
			return
		}
		if p.Repeat < 1 || p.File.Size < 1 || len(p.Links) > MaxLinks || len(p.Links)*len(p.Transports)*p.Repeat > MaxRuns || len(p.Runs()) == 0 {
			t.Fatalf("%+v", p)
		}
		again := fmt.Sprintf("seed: %d\nrepeat: %d\nengine: %s\nfile: {size: %v, pattern: %s}\ntransports: %s\nlinks:\n", p.Seed, p.Repeat, p.Engine, p.File.Size, p.File.Pattern, strings.ReplaceAll(fmt.Sprint(p.Transports), " ", ", "))
		for _, l := range p.Links {
			again += fmt.Sprintf("- {delay: %v, jitter: %v, loss: %v, reorder: %v, duplicate: %v, corrupt: %v", l.Delay, l.Jitter, l.Loss, l.Reorder, l.Duplicate, l.Corrupt)
			if l.Rate > 0 {
				again += fmt.Sprintf(", rate: %v", l.Rate)
			}
			if l.Queue > 0 {
				again += fmt.Sprintf(", queue: %v", l.Queue)
			}
			if g := l.Gilbert; g != nil {
				again += fmt.Sprintf(", gemodel: %v %v %v %v", g.P, g.R, g.LossBad, g.LossGood)
			}
			again += "}\n"
		}
		q, err := read(again)
		if err != nil {
			t.Fatalf("%v\n%s", err, again)
		}
		if !reflect.DeepEqual(p.Links, q.Links) || !reflect.DeepEqual(p.Transports, q.Transports) || p.File != q.File {
			t.Errorf("%+v\nread again\n%+v", p, q)
		}
	})
}
