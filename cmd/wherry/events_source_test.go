package main

import (
	"crypto/tls"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// Every struct that is printed as an event has its fields, and no others, in
// events.schema.json; so none can be added that the schema does not know, whether or
// not a test makes the program print it.
func TestEveryEventIsDescribed(t *testing.T) {
	var schema struct {
		OneOf []struct {
			Ref string `json:"$ref"`
		} `json:"oneOf"`
		Defs map[string]struct {
			Properties map[string]json.RawMessage `json:"properties"`
			Required   []string                   `json:"required"`
		} `json:"$defs"`
	}
	b, err := os.ReadFile("events.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &schema); err != nil {
		t.Fatal(err)
	}
	described := map[string][]string{} // definitions by their fields
	for _, o := range schema.OneOf {
		name := strings.TrimPrefix(o.Ref, "#/$defs/")
		var fields []string
		for f := range schema.Defs[name].Properties {
			fields = append(fields, f)
		}
		slices.Sort(fields)
		key := strings.Join(fields, " ")
		described[key] = append(described[key], name)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			s, ok := n.(*ast.StructType)
			if !ok {
				return true
			}
			fields, always := eventFields(s)
			if !slices.Contains(fields, "event") {
				return true
			}
			slices.Sort(fields)
			names := described[strings.Join(fields, " ")]
			if names == nil {
				t.Errorf("%v: no event of events.schema.json has the fields %v", fset.Position(s.Pos()), fields)
			}
			for _, d := range names {
				found[d] = true
				for _, r := range schema.Defs[d].Required {
					if !slices.Contains(always, r) {
						t.Errorf("%v: %q is required by the schema and left out when it is empty", fset.Position(s.Pos()), r)
					}
				}
			}
			return true
		})
	}
	for _, names := range described {
		for _, d := range names {
			if !found[d] {
				t.Errorf("the schema describes %s, which nothing prints", d)
			}
		}
	}
}

// eventFields is the names that a struct's fields have in JSON, and which of them are
// always there.
func eventFields(s *ast.StructType) (all, always []string) {
	for _, f := range s.Fields.List {
		if f.Tag == nil {
			continue
		}
		name, options, _ := strings.Cut(reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		all = append(all, name)
		if !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero") {
			always = append(always, name)
		}
	}
	return all, always
}

// until waits for a command to print what, and gives the rest of that line.
func (w *wherryProc) until(t *testing.T, what string) string {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(3 * time.Minute); time.Now().Before(end); <-tick.C {
		if _, rest, ok := strings.Cut(w.out.String(), what); ok {
			if line, _, whole := strings.Cut(rest, "\n"); whole {
				return line
			}
		}
	}
	t.Fatalf("no %s: %v", what, w)
	return ""
}

func TestLabDNSEvents(t *testing.T) {
	dir := t.TempDir()
	w := startWherry(t, noInput(), "lab", "dns", "--json", "../../testdata/zones", "--hints", dir+"/hints", "--anchor", dir+"/anchor")
	w.until(t, `"event":"ready"`)
	w.stop()
	if code := w.wait(); code != exitDone {
		t.Errorf("%v", w)
	}
	if events := holdToSchema(t, w.out.String()); len(events) < 3 || events[0] != "zone" || events[len(events)-1] != "ready" {
		t.Errorf("the events were %v", events)
	}
}

func TestServeEvents(t *testing.T) {
	share := filepath.Dir(aFile(t, "f", 1000))
	for _, flags := range [][]string{{"--plain"}, {"--upload"}} {
		w := startWherry(t, noInput(), append([]string{"serve", "--json", "--listen", listenAny, share}, flags...)...)
		url, _, _ := strings.Cut(w.until(t, `"urls":["`), `"`)
		url, _, _ = strings.Cut(url, "#")
		client := &http.Client{Timeout: 3 * time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
		if flags[0] == "--upload" {
			req, err := http.NewRequest(http.MethodPut, url+"new", strings.NewReader("content"))
			if err != nil {
				t.Fatal(err)
			}
			if resp, err := client.Do(req); err != nil || resp.StatusCode != http.StatusCreated {
				t.Fatalf("PUT: %v, %v", resp, err)
			} else {
				resp.Body.Close()
			}
			w.until(t, `"blake3":"`)
		} else {
			resp, err := client.Get(url + "f")
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			w.until(t, `"event":"request"`)
		}
		client.CloseIdleConnections()
		w.stop()
		if code := w.wait(); code != exitDone {
			t.Errorf("%v", w)
		}
		if events := holdToSchema(t, w.out.String()); !slices.Equal(events, []string{"start", "request"}) {
			t.Errorf("%v: the events were %v", flags, events)
		}
	}
}
