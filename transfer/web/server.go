package web

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

const (
	// DefaultStall is how long a connection may move no byte in the middle of a
	// body before it is cut.
	DefaultStall = 30 * time.Second
	// DefaultMaxConns is how many connections are served at once; a later one takes
	// the place of the oldest that has not shown the token, or waits for one to end.
	DefaultMaxConns = 512
	// farewell is how long requests under way may take once Serve is told to stop.
	farewell = 500 * time.Millisecond
)

// A Server shares Root. Its fields must not change once it serves.
type Server struct {
	Root  *os.Root
	Title string // what the top directory is called on pages and in archives; default "files"
	// Token is the first segment of every path. "" lets everybody in.
	Token string
	// Upload allows PUT and POST.
	Upload bool
	// MaxSize is the largest upload in bytes; 0 is as much as there is room for.
	MaxSize int64
	// Stall is how long a body may stand still; 0 is DefaultStall.
	Stall time.Duration
	// MaxConns bounds the connections; 0 is DefaultMaxConns.
	MaxConns int
	Trace    *Trace
}

// A Trace tells what happens. It is called from many goroutines at once.
type Trace struct {
	// Served is called after each request that held the token.
	Served func(Served)
}

// Served is one request that was answered.
type Served struct {
	Peer   string // address and port
	Method string
	Path   string // below Root, "" is Root itself; from a stranger, so clean it before printing
	Status int
	Bytes  int64 // of the answer's body, or of what was stored
	Took   time.Duration
	BLAKE3 string // of an upload that was stored, in hex
}

// NewToken returns 128 random bits as text for a URL.
func NewToken() string { return rand.Text() }

// Serve answers on l until ctx ends, over TLS if cert is given. It closes l.
// The end of ctx is no error.
func (s *Server) Serve(ctx context.Context, l net.Listener, cert *tls.Certificate) error {
	var protocols http.Protocols
	protocols.SetHTTP1(true) // one stream a connection, so that a stalled one is seen by its socket
	h := &http.Server{
		Handler:           s,
		Protocols:         &protocols,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          quiet,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       withConn,
	}
	l = newStallListener(l, s.stall(), s.maxConns())
	if cert != nil {
		l = tls.NewListener(l, &tls.Config{
			Certificates: []tls.Certificate{*cert},
			MinVersion:   tls.VersionTLS12,
			NextProtos:   []string{"http/1.1"},
		})
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
		defer cancel()
		if h.Shutdown(grace) != nil {
			h.Close()
		}
	})
	err := h.Serve(l)
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

func (s *Server) stall() time.Duration {
	if s.Stall > 0 {
		return s.Stall
	}
	return DefaultStall
}

func (s *Server) maxConns() int {
	if s.MaxConns > 0 {
		return s.MaxConns
	}
	return DefaultMaxConns
}

func (s *Server) title() string {
	if s.Title != "" {
		return s.Title
	}
	return "files"
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin") // the path holds the token
	h.Set("Cache-Control", "private, no-cache")
	if r.Body != http.NoBody {
		// net/http reads what of a body the handler leaves, and would wait for it.
		s.extend(w)
	}
	rest, ok := s.admit(r.URL.Path)
	if !ok {
		h.Set("Connection", "close")
		http.NotFound(w, r)
		return
	}
	admitted(r.Context())
	rec := &recorder{ResponseWriter: w}
	begin := time.Now()
	defer func() {
		if s.Trace == nil || s.Trace.Served == nil {
			return
		}
		n := rec.bytes
		if rec.stored > 0 {
			n = rec.stored
		}
		s.Trace.Served(Served{Peer: r.RemoteAddr, Method: r.Method, Path: strings.Trim(rest, "/"), Status: rec.statusOr200(), Bytes: n, Took: time.Since(begin), BLAKE3: rec.blake3})
	}()
	if rest == "" { // the token without its slash: relative links would lose it
		redirect(rec, r, "/"+s.Token+"/")
		return
	}
	name, dir, ok := clean(rest)
	if !ok {
		http.NotFound(rec, r)
		return
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		s.get(rec, r, name, dir)
	case http.MethodPut:
		s.put(rec, r, name, dir)
	case http.MethodPost:
		s.post(rec, r, name, dir)
	default:
		h.Set("Allow", s.allowed())
		refuse(rec, http.StatusMethodNotAllowed, "this server answers "+s.allowed())
	}
}

func (s *Server) allowed() string {
	if s.Upload {
		return "GET, HEAD, PUT, POST"
	}
	return "GET, HEAD"
}

// admit takes the token off the path, in a time that does not depend on how much
// of it is right. What is left begins with a slash, or is empty.
func (s *Server) admit(p string) (rest string, ok bool) {
	if s.Token == "" {
		return p, strings.HasPrefix(p, "/")
	}
	n := 1 + len(s.Token)
	if len(p) < n || subtle.ConstantTimeCompare([]byte(p[:n]), []byte("/"+s.Token)) != 1 {
		return "", false
	}
	rest = p[n:]
	return rest, rest == "" || rest[0] == '/'
}

// refuse answers with one line of text.
func refuse(w http.ResponseWriter, status int, why string) {
	if status != http.StatusMethodNotAllowed && status != http.StatusConflict {
		w.Header().Set("Connection", "close") // the rest of a body that nobody wants is not read
	}
	http.Error(w, why, status)
}

// redirect is http.Redirect without its rewriting of paths.
func redirect(w http.ResponseWriter, r *http.Request, to string) {
	if r.URL.RawQuery != "" {
		to += "?" + r.URL.RawQuery
	}
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusMovedPermanently)
}
