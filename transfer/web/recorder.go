package web

import (
	"io"
	"log/slog"
	"net/http"
)

// quiet takes what http.Server would print about broken connections; what matters
// is in the Trace.
var quiet = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)

// recorder remembers what was answered. It hands ReadFrom on, through which a
// file goes to the socket without passing through this process.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
	stored int64
	blake3 string
}

func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) statusOr200() int {
	if r.status == 0 {
		return http.StatusOK
	}
	return r.status
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	n, err := r.ResponseWriter.Write(p)
	r.bytes += int64(n)
	return n, err
}

func (r *recorder) ReadFrom(src io.Reader) (int64, error) {
	n, err := io.Copy(r.ResponseWriter, src)
	r.bytes += n
	return n, err
}
