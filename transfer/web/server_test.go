package web

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lukechampine.com/blake3"

	"github.com/wherry-net/wherry/transfer"
)

const token = "TOKEN"

// A site is a server over a directory, with a secret beside that directory.
type site struct {
	dir, outside string
	s            *Server
	*httptest.Server
}

func newSite(t testing.TB) *site {
	t.Helper()
	top := t.TempDir()
	v := &site{dir: top + "/shared", outside: top + "/outside"}
	for _, d := range []string{v.dir + "/sub/deep", v.outside} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	v.write(t, v.outside+"/secret", "the secret")
	v.write(t, v.dir+"/hello.txt", "hello, world")
	v.write(t, v.dir+"/sub/deep/x", "deep")
	root, err := os.OpenRoot(v.dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	v.s = &Server{Root: root, Title: "shared", Token: token}
	v.Server = httptest.NewServer(v.s)
	t.Cleanup(v.Server.Close)
	return v
}

func (v *site) write(t testing.TB, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

type answered struct {
	status int
	header http.Header
	body   string
	err    error // of reading the body
}

// do sends one request; kv are header fields.
func (v *site) do(t testing.TB, method, path string, body io.Reader, kv ...string) answered {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, v.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(kv); i += 2 {
		r.Header.Set(kv[i], kv[i+1])
	}
	c := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer c.CloseIdleConnections()
	resp, err := c.Do(r)
	if err != nil {
		return answered{err: err}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answered{resp.StatusCode, resp.Header, string(b), err}
}

func TestFile(t *testing.T) {
	v := newSite(t)
	whole := v.do(t, "GET", "/TOKEN/hello.txt", nil)
	tag, when := whole.header.Get("ETag"), whole.header.Get("Last-Modified")
	if tag == "" || when == "" || whole.body != "hello, world" {
		t.Fatalf("%+v", whole)
	}
	for _, c := range []struct {
		name, method, path string
		kv                 []string
		status             int
		body               string
		header             [2]string
	}{
		{"head", "HEAD", "/TOKEN/hello.txt", nil, 200, "", [2]string{"Content-Length", "12"}},
		{"range", "GET", "/TOKEN/hello.txt", []string{"Range", "bytes=7-"}, 206, "world", [2]string{"Content-Range", "bytes 7-11/12"}},
		{"suffix range", "GET", "/TOKEN/hello.txt", []string{"Range", "bytes=-3"}, 206, "rld", [2]string{}},
		{"range beyond", "GET", "/TOKEN/hello.txt", []string{"Range", "bytes=12-"}, 416, "invalid range: failed to overlap\n", [2]string{"Content-Range", "bytes */12"}},
		{"if-range, same", "GET", "/TOKEN/hello.txt", []string{"Range", "bytes=7-", "If-Range", tag}, 206, "world", [2]string{}},
		{"if-range, other", "GET", "/TOKEN/hello.txt", []string{"Range", "bytes=7-", "If-Range", `"other"`}, 200, "hello, world", [2]string{}},
		{"if-none-match", "GET", "/TOKEN/hello.txt", []string{"If-None-Match", tag}, 304, "", [2]string{"ETag", tag}},
		{"if-modified-since", "GET", "/TOKEN/hello.txt", []string{"If-Modified-Since", when}, 304, "", [2]string{}},
		{"download", "GET", "/TOKEN/hello.txt?download", nil, 200, "hello, world", [2]string{"Content-Disposition", `attachment; filename="hello.txt"; filename*=UTF-8''hello.txt`}},
		{"a file is no directory", "GET", "/TOKEN/hello.txt/", nil, 404, "404 page not found\n", [2]string{}},
		{"directory without slash", "GET", "/TOKEN/sub", nil, 301, "", [2]string{"Location", "/TOKEN/sub/"}},
		{"token without slash", "GET", "/TOKEN?as=json", nil, 301, "", [2]string{"Location", "/TOKEN/?as=json"}},
		{"missing", "GET", "/TOKEN/nothing", nil, 404, "404 page not found\n", [2]string{}},
		{"method", "DELETE", "/TOKEN/hello.txt", nil, 405, "this server answers GET, HEAD\n", [2]string{"Allow", "GET, HEAD"}},
		{"put is off", "PUT", "/TOKEN/new", nil, 405, "this server takes no uploads\n", [2]string{"Allow", "GET, HEAD"}},
		{"post is off", "POST", "/TOKEN/", nil, 405, "this server takes no uploads\n", [2]string{}},
		{"unknown form", "GET", "/TOKEN/?as=rar", nil, 406, "a directory can be had as text/html, application/json, application/x-tar or application/zip\n", [2]string{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := v.do(t, c.method, c.path, nil, c.kv...)
			if got.err != nil || got.status != c.status || got.body != c.body || c.header[0] != "" && got.header.Get(c.header[0]) != c.header[1] {
				t.Errorf("%+v; want %d %q with %v", got, c.status, c.body, c.header)
			}
		})
	}
}

// Who lacks the token learns nothing: not even whether there is a file.
func TestToken(t *testing.T) {
	v := newSite(t)
	var seen []Served
	v.s.Trace = &Trace{Served: func(s Served) { seen = append(seen, s) }}
	for _, p := range []string{"/", "/hello.txt", "/TOKE/hello.txt", "/TOKENS/hello.txt", "/token/hello.txt", "//TOKEN/hello.txt", "/x/TOKEN/hello.txt", "/TOKEN%00/hello.txt"} {
		if got := v.do(t, "GET", p, nil); got.status != 404 || got.body != "404 page not found\n" {
			t.Errorf("%s: %+v", p, got)
		}
	}
	if len(seen) != 0 {
		t.Errorf("told of strangers: %v", seen)
	}
}

// Nothing that a request can say leads out of the directory. The requests are
// written by hand, since a client would tidy them.
func TestTraversal(t *testing.T) {
	v := newSite(t)
	for name, target := range map[string]string{"out": "../outside/secret", "outdir": "../outside", "abs": v.outside + "/secret", "up": "..", "loop": "loop"} {
		if err := os.Symlink(target, v.dir+"/"+name); err != nil {
			t.Fatal(err)
		}
	}
	v.s.Upload = true
	before := tree(t, filepath.Dir(v.dir))
	for _, p := range []string{
		"../outside/secret", "..%2foutside%2fsecret", "%2e%2e/outside/secret", "%2e%2e%2foutside/secret",
		"sub/../../outside/secret", "sub/deep/../../../outside/secret", "./../outside/secret",
		"..%5coutside%5csecret", "....//outside/secret", "..;/outside/secret",
		"%252e%252e/outside/secret", "%c0%ae%c0%ae/outside/secret", "..%c0%afoutside/secret", "%e0%80%ae%e0%80%ae/outside/secret",
		"/" + v.outside + "/secret", strings.TrimPrefix(v.outside, "/") + "/secret", "file://" + v.outside + "/secret",
		"out", "outdir/secret", "outdir/", "abs", "up/outside/secret", "loop", "sub//deep/x", "sub/./deep/x", "sub/deep/../deep/x",
		"hello.txt%00", "hello.txt%00.html", "../shared/hello.txt", "..", "../", "sub/..", "%2e%2e", ".", "hello.txt/.", "hello.txt/../hello.txt",
		strings.Repeat("a/", 5000), strings.Repeat("a", 9000),
		"x" + transfer.PartSuffix,
	} {
		for _, method := range []string{"GET", "HEAD", "PUT", "POST"} {
			raw := fmt.Sprintf("%s /TOKEN/%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", method, p)
			got := v.raw(t, raw)
			if strings.Contains(got, "the secret") || !strings.HasPrefix(got, "HTTP/1.1 4") {
				t.Errorf("%s %s: %.200q", method, p, got)
			}
		}
	}
	if after := tree(t, filepath.Dir(v.dir)); !slices.Equal(before, after) {
		t.Errorf("something changed:\n%v\n%v", before, after)
	}
}

// raw writes a request byte by byte as given and returns all that comes back.
func (v *site) raw(t testing.TB, request string) string {
	t.Helper()
	c, err := net.Dial("tcp", v.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Minute)) //permit:time.Now a deadline against a hung test
	go func() { _, _ = io.WriteString(c, request) }()  // what is refused early is not read to its end
	b, _ := io.ReadAll(c)
	return string(b)
}

// Header fields that have deceived servers.
func TestHeaders(t *testing.T) {
	v := newSite(t)
	v.s.Upload = true
	v.write(t, v.dir+"/big", strings.Repeat("0123456789", 100_000))
	const get = "GET /TOKEN/hello.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
	for _, c := range []struct{ name, request, status string }{
		{"two lengths", "PUT /TOKEN/smuggled HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "400"},
		{"negative length", "PUT /TOKEN/smuggled HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "400"},
		{"endless length", "PUT /TOKEN/smuggled HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", "400"},
		{"unknown coding", "PUT /TOKEN/smuggled HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n", "501"},
		{"bad chunk", "PUT /TOKEN/smuggled HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", "400"},
		{"header without end", "GET /TOKEN/hello.txt HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 1<<21) + "\r\n\r\n", "431"},
		{"no host", "GET /TOKEN/hello.txt HTTP/1.1\r\n\r\n", "400"},
		{"two hosts", "GET /TOKEN/hello.txt HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"},
		{"newline in a name", "GET /TOKEN/hello.txt HTTP/1.1\r\nHost: x\r\nA\nB: c\r\n\r\n", "400"},
		{"content range", "PUT /TOKEN/smuggled HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Range: bytes 5-9/10\r\nContent-Length: 5\r\n\r\nhello", "400"},
		{"absurd ranges", get + "Range: bytes=-0,0-,-99999999999999999999\r\n\r\n", "416"},
		{"range of another unit", get + "Range: lines=1-2\r\n\r\n", "416"},
		{"negative range", get + "Range: bytes=--5\r\n\r\n", "416"},
		{"absolute target", "GET http://evil.example/TOKEN/hello.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "200"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := v.raw(t, c.request)
			if !strings.HasPrefix(got, "HTTP/1.1 "+c.status) {
				t.Errorf("%.300q, want %s", got, c.status)
			}
		})
	}
	// Many overlapping ranges must not cost more than the file (CVE-2011-3192).
	many := strings.Repeat("0-,", 1000) + "0-"
	if got := v.do(t, "GET", "/TOKEN/big", nil, "Range", "bytes="+many); len(got.body) > 1_100_000 {
		t.Errorf("%d bytes for a file of a million", len(got.body))
	}
	if _, err := os.Stat(v.dir + "/smuggled"); err == nil {
		t.Error("something was stored")
	}
}

func TestListing(t *testing.T) {
	v := newSite(t)
	odd := []string{`<img src=x onerror=alert(1)>`, `"quoted" & 'so'`, "a:b", "?q", "#frag", "100%", "-dash", "sp ace", "é\u202egpj.exe", "new\nline", "esc\x1b[31m", "javascript:alert(1)", "latin\xe9"}
	for _, n := range odd {
		v.write(t, v.dir+"/sub/"+n, n)
	}
	v.write(t, v.dir+"/sub/unfinished"+transfer.PartSuffix, "")
	got := v.do(t, "GET", "/TOKEN/sub/", nil, "Accept", "application/json")
	var l Listing
	if err := json.Unmarshal([]byte(got.body), &l); err != nil {
		t.Fatal(err)
	}
	if l.Path != "sub" || len(l.Entries) != len(odd)+1 || l.Entries[0].Kind != "directory" {
		t.Fatalf("%+v", l)
	}
	// Each address leads to its file.
	for _, e := range l.Entries[1:] {
		f := v.do(t, "GET", "/TOKEN/sub/"+strings.TrimPrefix(e.Href, "./"), nil)
		if f.status != 200 || !slices.Contains(odd, f.body) || int64(len(f.body)) != e.Size || printable(f.body) != e.Name {
			t.Errorf("%+v leads to %+v", e, f)
		}
	}
	page := v.do(t, "GET", "/TOKEN/sub/", nil, "Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	for _, bad := range []string{"<img", "\x1b", "\u202e", "<script", `href="javascript`} {
		if strings.Contains(page.body, bad) {
			t.Errorf("the page has %q in it", bad)
		}
	}
	if !strings.Contains(page.header.Get("Content-Security-Policy"), "default-src 'none'") || !strings.Contains(page.body, `href="../"`) {
		t.Errorf("%+v", page)
	}
	if strings.Contains(page.body, "<form") {
		t.Error("a form, though uploads are off")
	}
	if h := v.do(t, "HEAD", "/TOKEN/sub/", nil); h.status != 200 || h.body != "" {
		t.Errorf("%+v", h)
	}
}

func TestNegotiate(t *testing.T) {
	for _, c := range []struct {
		accept string
		want   form
		ok     bool
	}{
		{"", formHTML, true},
		{"*/*", formHTML, true},
		{"application/json", formJSON, true},
		{"text/html, application/json;q=0.9", formHTML, true},
		{"text/html;q=0.1, application/json;q=0.9", formJSON, true},
		{"application/*", formJSON, true},
		{"application/zip, */*;q=0.1", formZip, true},
		{"Application/X-TAR", formTar, true},
		{"text/html;q=0", formHTML, false},
		{"image/png", formHTML, false},
		{"*/*;q=0.5, text/html;q=0", formJSON, true},
		{"text/html;q=nonsense", formHTML, true},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		if c.accept != "" {
			r.Header.Set("Accept", c.accept)
		}
		if got, ok := negotiate(r); ok != c.ok || ok && got != c.want {
			t.Errorf("%q: %v %v", c.accept, formNames[got], ok)
		}
	}
}

func TestArchive(t *testing.T) {
	v := newSite(t)
	v.write(t, v.dir+"/sub/bin", strings.Repeat("\x00\xff", 70_000))
	for n, target := range map[string]string{"in": "deep/x", "out": "../../outside/secret", "dead": "nowhere"} {
		if err := os.Symlink(target, v.dir+"/sub/"+n); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]string{"sub/deep/x": "deep", "sub/bin": strings.Repeat("\x00\xff", 70_000)}

	got := v.do(t, "GET", "/TOKEN/sub/?as=tar", nil)
	r, have, links := tar.NewReader(strings.NewReader(got.body)), map[string]string{}, map[string]string{}
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeSymlink {
			links[h.Name] = h.Linkname
		} else if h.Typeflag == tar.TypeReg {
			b, _ := io.ReadAll(r)
			have[h.Name] = string(b)
		}
	}
	if fmt.Sprint(have) != fmt.Sprint(want) || len(links) != 1 || links["sub/in"] != "deep/x" {
		t.Errorf("tar: %d files, links %v", len(have), links)
	}

	got = v.do(t, "GET", "/TOKEN/sub/", nil, "Accept", "application/zip")
	z, err := zip.NewReader(strings.NewReader(got.body), int64(len(got.body)))
	if err != nil {
		t.Fatal(err)
	}
	have = map[string]string{}
	for _, f := range z.File {
		if f.Mode().IsRegular() {
			c, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(c)
			have[f.Name] = string(b)
		}
	}
	if fmt.Sprint(have) != fmt.Sprint(want) {
		t.Errorf("zip: %v", len(have))
	}
	if d := got.header.Get("Content-Disposition"); !strings.Contains(d, `filename="sub.zip"`) {
		t.Error(d)
	}
}

// An archive whose file shrinks meanwhile is broken off, not ended.
func TestArchiveBrokenOff(t *testing.T) {
	v := newSite(t)
	if _, err := io.ReadAll(&exactly{strings.NewReader("abc"), 4}); err != io.ErrUnexpectedEOF {
		t.Errorf("a file that shrank: %v", err)
	}
	if b, err := io.ReadAll(&exactly{strings.NewReader("abcdef"), 4}); err != nil || string(b) != "abcd" {
		t.Errorf("a file that grew: %q, %v", b, err)
	}
	abort := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w = &recorder{ResponseWriter: w}
		a := tarball{tar.NewWriter(w)}
		info, _ := v.s.Root.Stat("hello.txt")
		if a.file("hello.txt", &exactly{strings.NewReader("short"), 12}, info) == nil {
			t.Error("no error")
		}
		panic(http.ErrAbortHandler)
	}))
	defer abort.Close()
	resp, err := http.Get(abort.URL)
	if err == nil {
		_, err = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	if err == nil {
		t.Error("the client takes it for whole")
	}
}

func digest(s string) string {
	sum := blake3.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func TestPut(t *testing.T) {
	v := newSite(t)
	v.s.Upload, v.s.MaxSize = true, 1000
	tag := v.do(t, "HEAD", "/TOKEN/hello.txt", nil).header.Get("ETag")
	for _, c := range []struct {
		name, path, body string
		kv               []string
		status           int
	}{
		{"new", "/TOKEN/sub/new%20one", "content", nil, 201},
		{"again", "/TOKEN/sub/new%20one", "other", nil, 409},
		{"empty", "/TOKEN/empty", "", nil, 201},
		{"replace blindly", "/TOKEN/hello.txt", "x", []string{"If-Match", "*"}, 412},
		{"replace another", "/TOKEN/hello.txt", "x", []string{"If-Match", `"old"`}, 412},
		{"replace what is not there", "/TOKEN/nothing", "x", []string{"If-Match", tag}, 412},
		{"replace", "/TOKEN/hello.txt", "changed", []string{"If-Match", tag}, 200},
		{"too large", "/TOKEN/large", strings.Repeat("x", 1001), nil, 413},
		{"the longest name", "/TOKEN/" + strings.Repeat("n", 255), "x", nil, 201},
		{"largest", "/TOKEN/largest", strings.Repeat("x", 1000), nil, 201},
		{"no such directory", "/TOKEN/no/such", "x", nil, 404},
		{"below a file", "/TOKEN/hello.txt/x", "x", nil, 404},
		{"a directory", "/TOKEN/sub/", "x", nil, 400},
		{"over a directory", "/TOKEN/sub", "x", nil, 409},
		{"kept name", "/TOKEN/a" + transfer.PartSuffix, "x", nil, 404},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := v.do(t, "PUT", c.path, strings.NewReader(c.body), c.kv...)
			if got.status != c.status {
				t.Fatalf("%+v, want %d", got, c.status)
			}
			if c.status >= 300 {
				return
			}
			var x Stored
			if err := json.Unmarshal([]byte(got.body), &x); err != nil || x.Size != int64(len(c.body)) || x.BLAKE3 != digest(c.body) {
				t.Errorf("%+v, %v", x, err)
			}
			if back := v.do(t, "GET", c.path, nil); back.body != c.body {
				t.Errorf("stored %q", back.body)
			}
		})
	}
	v.clean(t)
}

// clean looks for unfinished files.
func (v *site) clean(t testing.TB) {
	t.Helper()
	for _, l := range tree(t, v.dir) {
		if strings.Contains(l, transfer.PartSuffix) {
			t.Errorf("left behind: %s", l)
		}
	}
}

// A body that ends before its length leaves nothing.
func TestPutBrokenOff(t *testing.T) {
	v := newSite(t)
	v.s.Upload = true
	done := make(chan struct{}, 3)
	v.s.Trace = &Trace{Served: func(s Served) {
		if s.Status < 400 {
			t.Errorf("%+v", s)
		}
		done <- struct{}{}
	}}
	for _, body := range []string{
		"Content-Length: 300000\r\n\r\n" + strings.Repeat("x", 299_999),
		"Content-Length: 10\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
	} {
		c, err := net.Dial("tcp", v.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "PUT /TOKEN/half HTTP/1.1\r\nHost: x\r\n%s", body)
		c.Close()
		<-done
	}
	if _, err := os.Stat(v.dir + "/half"); err == nil {
		t.Error("half a file has its name")
	}
	v.clean(t)
}

// Of many who put the same name at once, one wins and the others are told.
func TestPutRace(t *testing.T) {
	v := newSite(t)
	v.s.Upload = true
	var wg sync.WaitGroup
	got := make([]answered, 8)
	for i := range got {
		wg.Go(func() {
			got[i] = v.do(t, "PUT", "/TOKEN/one", strings.NewReader(strings.Repeat(fmt.Sprint(i), 100_000)))
		})
	}
	wg.Wait()
	winners := 0
	for i, a := range got {
		if a.status == 201 {
			winners++
			if b, _ := os.ReadFile(v.dir + "/one"); string(b) != strings.Repeat(fmt.Sprint(i), 100_000) {
				t.Error("the file is not the winner's")
			}
		} else if a.status != 409 {
			t.Errorf("%+v", a)
		}
	}
	if winners != 1 {
		t.Errorf("%d winners", winners)
	}
	v.clean(t)
}

func formOf(t testing.TB, files ...string) (io.Reader, string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		p, err := w.CreateFormFile("file", files[i])
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(p, files[i+1])
	}
	w.Close()
	return &b, w.FormDataContentType()
}

func TestForm(t *testing.T) {
	v := newSite(t)
	v.s.Upload, v.s.MaxSize = true, 1000
	post := func(path string, kv []string, files ...string) answered {
		body, kind := formOf(t, files...)
		return v.do(t, "POST", path, body, append([]string{"Content-Type", kind}, kv...)...)
	}
	asJSON := []string{"Accept", "application/json"}
	got := post("/TOKEN/sub/", asJSON, "one", "1", "two.txt", "22")
	var list []Stored
	if err := json.Unmarshal([]byte(got.body), &list); got.status != 201 || err != nil || len(list) != 2 || list[1] != (Stored{"two.txt", 2, digest("22")}) {
		t.Errorf("%+v", got)
	}
	if got := post("/TOKEN/sub/", nil, "three<b>", "3"); got.status != 200 || !strings.Contains(got.body, "Arrived: three&lt;b&gt;") || !strings.Contains(got.body, "<form") {
		t.Errorf("%+v", got)
	}
	// Whatever directories stand in the name, the file lands in this one.
	if got := post("/TOKEN/sub/", asJSON, `C:\fakepath\four`, "4", "../../outside/five", "5", "/etc/six", "6"); got.status != 201 {
		t.Errorf("%+v", got)
	}
	for _, n := range []string{"four", "five", "six"} {
		if _, err := os.Stat(v.dir + "/sub/" + n); err != nil {
			t.Error(err)
		}
	}
	for name, c := range map[string]struct {
		got    answered
		status int
	}{
		"exists":      {post("/TOKEN/sub/", nil, "one", "!"), 409},
		"dots":        {post("/TOKEN/sub/", nil, "..", "x"), 400},
		"kept name":   {post("/TOKEN/sub/", nil, "a"+transfer.PartSuffix, "x"), 400},
		"too large":   {post("/TOKEN/sub/", nil, "large", strings.Repeat("x", 1001)), 413},
		"nothing":     {post("/TOKEN/sub/", nil), 200},
		"not there":   {post("/TOKEN/none/", nil, "a", "x"), 404},
		"no form":     {v.do(t, "POST", "/TOKEN/sub/", strings.NewReader("a=b"), "Content-Type", "application/x-www-form-urlencoded"), 415},
		"other site":  {post("/TOKEN/sub/", []string{"Sec-Fetch-Site", "cross-site"}, "csrf", "x"), 403},
		"other site2": {post("/TOKEN/sub/", []string{"Origin", "https://evil.example"}, "csrf", "x"), 403},
		"broken off":  {v.do(t, "POST", "/TOKEN/sub/", strings.NewReader("--b\r\nContent-Disposition: form-data; name=file; filename=cut\r\n\r\nabc"), "Content-Type", "multipart/form-data; boundary=b"), 400},
	} {
		if c.got.status != c.status {
			t.Errorf("%s: %+v, want %d", name, c.got, c.status)
		}
	}
	if got := post("/TOKEN/sub/", nil, "fine", "1", "one", "!", "later", "x"); got.status != 409 || !strings.Contains(got.body, "one: a file of this name exists") || !strings.Contains(got.body, "arrived before it: fine") {
		t.Errorf("of three the second exists: %+v", got)
	}
	for _, n := range []string{"csrf", "large", "cut", "later"} {
		if _, err := os.Stat(v.dir + "/sub/" + n); err == nil {
			t.Errorf("%s was stored", n)
		}
	}
	v.clean(t)
}

// Serve ends with its context, over TLS with a certificate of its own, and a
// client that knows the fingerprint can tell it from another.
func TestServeTLS(t *testing.T) {
	v := newSite(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := NewCertificate(time.Now(), nil) //permit:time.Now what the client's clock shows
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- v.s.Serve(ctx, l, &cert) }()
	var seen string
	c := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			seen = Fingerprint(&tls.Certificate{Certificate: [][]byte{s.PeerCertificates[0].Raw}})
			return nil
		},
	}}}
	resp, err := c.Get("https://" + l.Addr().String() + "/TOKEN/hello.txt")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if string(b) != "hello, world" || seen != Fingerprint(&cert) || resp.Proto != "HTTP/1.1" {
		t.Errorf("%q %s %s", b, seen, resp.Proto)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func tree(t testing.TB, dir string) (out []string) {
	t.Helper()
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			t.Error(err)
			return nil
		}
		info, _ := d.Info()
		size := info.Size()
		if d.IsDir() {
			size = 0
		}
		out = append(out, fmt.Sprintf("%s %v %d", p, d.Type(), size))
		return nil
	})
	return out
}
