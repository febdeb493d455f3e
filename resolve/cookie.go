package resolve

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"sync"
)

// A CookieJar keeps the DNS cookies of a session (RFC 7873): a secret from
// which each server's client cookie is made, so that servers cannot follow us
// by it from one to another, and the cookies that servers gave us. The zero
// value is ready; a jar may be used by several goroutines.
type CookieJar struct {
	mu     sync.Mutex
	secret []byte
	server map[string][]byte
}

// maxCookies bounds the jar; beyond it, it starts anew.
const maxCookies = 4096

func (j *CookieJar) get(u Upstream) (client, server []byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.secret == nil {
		j.secret = make([]byte, 32)
		rand.Read(j.secret) // does not fail, since Go 1.24
	}
	h := hmac.New(sha256.New, j.secret)
	h.Write([]byte(u.Address()))
	return h.Sum(nil)[:8], j.server[u.Address()]
}

func (j *CookieJar) put(u Upstream, server []byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.server == nil || len(j.server) >= maxCookies {
		j.server = make(map[string][]byte)
	}
	j.server[u.Address()] = append([]byte(nil), server...)
}
