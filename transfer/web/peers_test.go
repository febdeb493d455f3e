package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// tool skips where a program is missing, but for CI, which installs it.
func tool(t *testing.T, name string) string {
	t.Helper()
	p, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is missing", name)
		}
		t.Skipf("%s is missing", name)
	}
	return p
}

func command(t *testing.T, dir, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, tool(t, name), args...)
	c.Dir = dir
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	if err != nil {
		err = fmt.Errorf("%s %q: %w\n%s", name, args, err, errs.String())
	}
	return out.String(), err
}

// serveTLS serves v as the program does and returns the URL of its top.
func (v *site) serveTLS(t *testing.T) (url, pin string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := NewCertificate(time.Now(), nil) //permit:time.Now what curl's clock shows
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- v.s.Serve(ctx, l, &cert) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return "https://" + l.Addr().String() + "/TOKEN/", PublicKeyPin(&cert)
}

func TestCurl(t *testing.T) {
	v := newSite(t)
	v.s.Upload = true
	big := strings.Repeat("0123456789abcdef", 200_000)
	v.write(t, v.dir+"/big", big)
	url, pin := v.serveTLS(t)
	dir := t.TempDir()
	curl := func(args ...string) (string, error) {
		return command(t, dir, "curl", append([]string{"--silent", "--show-error", "--fail", "--insecure", "--pinnedpubkey", pin}, args...)...)
	}
	// Continue a download that broke off.
	v.write(t, dir+"/big", big[:1_234_567])
	if _, err := curl("-C", "-", "-o", "big", url+"big"); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(dir + "/big"); string(b) != big {
		t.Error("the continued file differs")
	}
	// Only if it has changed.
	head, err := curl("-I", url+"big")
	tag := regexp.MustCompile(`(?i)etag: (\S+)`).FindStringSubmatch(head)
	if err != nil || tag == nil {
		t.Fatal(head, err)
	}
	if out, err := curl("-w", "%{http_code}", "-H", "If-None-Match: "+tag[1], url+"big"); err != nil || out != "304" {
		t.Error(out, err)
	}
	// Upload by PUT, by form, and a pipe of unknown length.
	if out, err := curl("-T", "big", url+"sub/"); err != nil || !strings.Contains(out, digest(big)) {
		t.Error(out, err)
	}
	v.write(t, dir+"/with space", "spaced")
	if out, err := curl("-F", "file=@with space", "-F", "file=@big;filename=again", "-H", "Accept: application/json", url+"sub/"); err != nil || !strings.Contains(out, digest("spaced")) {
		t.Error(out, err)
	}
	if out, err := curl("-T", "/dev/stdin", url+"sub/piped"); err != nil || !strings.Contains(out, digest("")) {
		t.Error(out, err)
	}
	for name, want := range map[string]string{"big": big, "with space": "spaced", "again": big, "piped": ""} {
		if b, err := os.ReadFile(v.dir + "/sub/" + name); err != nil || string(b) != want {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
	}
	// Another server's key is noticed.
	other := newSite(t)
	url2, _ := other.serveTLS(t)
	if _, err := curl(url2); err == nil {
		t.Error("curl takes another certificate for ours")
	}
	// Archives that the usual tools read.
	if _, err := curl("-o", "sub.tar", url+"sub/?as=tar"); err != nil {
		t.Fatal(err)
	}
	if out, err := command(t, dir, "tar", "-xvf", "sub.tar"); err != nil {
		t.Error(out, err)
	}
	if b, _ := os.ReadFile(dir + "/sub/deep/x"); string(b) != "deep" {
		t.Errorf("tar has %q", b)
	}
	if _, err := curl("-o", "sub.zip", url+"sub/?as=zip"); err != nil {
		t.Fatal(err)
	}
	if out, err := command(t, dir, "unzip", "-tq", "sub.zip"); err != nil || !strings.Contains(out, "No errors") {
		t.Error(out, err)
	}
}

// wget follows the page's links and finds every file.
func TestWget(t *testing.T) {
	v := newSite(t)
	for _, n := range []string{"a b", "c&d", "é", "e?f", "g#h", "100%"} {
		v.write(t, v.dir+"/sub/"+n, n)
	}
	url, _ := v.serveTLS(t)
	dir := t.TempDir()
	if _, err := command(t, dir, "wget", "--quiet", "--no-check-certificate", "--recursive", "--no-parent", "--no-host-directories", "--cut-dirs=1", "--reject-regex", `\?as=`, url); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"hello.txt": "hello, world", "sub/deep/x": "deep", "sub/a b": "a b", "sub/c&d": "c&d", "sub/é": "é", "sub/e?f": "e?f", "sub/g#h": "g#h", "sub/100%": "100%"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
}

// A browser shows the page without a complaint, follows a link and sends a file by
// the form. It is driven over WebDriver (https://www.w3.org/TR/webdriver2/).
func TestBrowser(t *testing.T) {
	tool(t, "chromium")
	v := newSite(t)
	v.s.Upload = true
	v.write(t, v.dir+"/sub/<b>bold", "not bold")
	url, _ := v.serveTLS(t)
	up := filepath.Join(t.TempDir(), "from the phone.txt")
	v.write(t, up, "a picture")

	b := newBrowser(t)
	b.do("POST", "/url", map[string]any{"url": url})
	if got := b.text("h1"); got != "shared" {
		t.Errorf("the heading is %q", got)
	}
	b.click("a[href='./sub/']")
	if got := b.text("td a[href*='bold']"); got != "<b>bold" {
		t.Errorf("a name became %q", got)
	}
	b.do("POST", "/element/"+b.find("input[type=file]")+"/value", map[string]any{"text": up})
	b.click("button")
	if got := b.text("[role=status]"); got != "Arrived: from the phone.txt" {
		t.Errorf("after the upload the page says %q", got)
	}
	if got, err := os.ReadFile(v.dir + "/sub/from the phone.txt"); err != nil || string(got) != "a picture" {
		t.Errorf("%q, %v", got, err)
	}
	for _, l := range b.do("POST", "/se/log", map[string]any{"type": "browser"}).([]any) {
		t.Errorf("the console has %v", l)
	}
}

type browser struct {
	t    *testing.T
	base string
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	c := exec.Command(tool(t, "chromedriver"), "--port=0")
	c.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	var seen []byte
	port := regexp.MustCompile(`started successfully on port (\d+)`)
	buf := make([]byte, 4096)
	for port.FindSubmatch(seen) == nil {
		n, err := out.Read(buf)
		if err != nil {
			t.Fatalf("chromedriver: %v\n%s", err, seen)
		}
		seen = append(seen, buf[:n]...)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	b := &browser{t, "http://127.0.0.1:" + string(port.FindSubmatch(seen)[1]) + "/session"}
	s := b.do("POST", "", map[string]any{"capabilities": map[string]any{"alwaysMatch": map[string]any{
		"acceptInsecureCerts": true,
		"goog:loggingPrefs":   map[string]any{"browser": "ALL"},
		"goog:chromeOptions": map[string]any{"args": []string{
			"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
			"--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--user-data-dir=" + t.TempDir(),
		}},
	}}}).(map[string]any)
	b.base += "/" + s["sessionId"].(string)
	b.do("POST", "/timeouts", map[string]any{"implicit": 240_000}) // a page may take a while to come
	t.Cleanup(func() { b.do("DELETE", "", nil) })
	return b
}

// do gives one command and returns its value.
func (b *browser) do(method, path string, body any) any {
	b.t.Helper()
	var r io.Reader
	if body != nil {
		j, err := json.Marshal(body)
		if err != nil {
			b.t.Fatal(err)
		}
		r = bytes.NewReader(j)
	}
	// The session is ended after the test's own context has.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, method, b.base+path, r)
	if err != nil {
		b.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(q)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	var v struct{ Value any }
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil || resp.StatusCode != 200 {
		if path != "/source" {
			b.t.Logf("the page is\n%v", b.do("GET", "/source", nil))
		}
		b.t.Fatalf("WebDriver %s %s: %s %v %v", method, path, resp.Status, v.Value, err)
	}
	return v.Value
}

func (b *browser) find(css string) string {
	b.t.Helper()
	e := b.do("POST", "/element", map[string]any{"using": "css selector", "value": css}).(map[string]any)
	for _, id := range e {
		return id.(string)
	}
	b.t.Fatal("WebDriver found an element without an id")
	return ""
}

func (b *browser) text(css string) string {
	b.t.Helper()
	return b.do("GET", "/element/"+b.find(css)+"/text", nil).(string)
}

func (b *browser) click(css string) {
	b.t.Helper()
	b.do("POST", "/element/"+b.find(css)+"/click", map[string]any{})
}
