package zeromq

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// pythonReceiver gets the sealed messages of an offer as the documentation of this
// package and of psk has it, on libzmq and without anything of ours: by the PUB what
// that brings, by asking what it does not.
const pythonReceiver = `
import sys, os, json, struct, hashlib, hmac, zmq
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

addr, words, want = sys.argv[1], sys.argv[2], int(sys.argv[3])
label = b'wherry psk 1'
secret = hashlib.scrypt(words.encode(), salt=label + b' files', n=2**15, r=8, p=1, maxmem=2**26, dklen=32)

def hkdf(secret, salt, info, n):
    prk, out, t = hmac.new(salt, secret, 'sha256').digest(), b'', b''
    while len(out) < n:
        t = hmac.new(prk, t + info + bytes([len(out) // 32 + 1]), 'sha256').digest()
        out += t
    return out[:n]

c = zmq.Context()
s = c.socket(zmq.DEALER)
s.connect('tcp://' + addr)
nonce = os.urandom(32)
s.send(label + nonce)
assert s.poll(240000)
welcome = s.recv()
keys = hkdf(secret, nonce + welcome[12:44], label, 80)
assert keys[64:] == welcome[44:], 'another code'
out, inn = ChaCha20Poly1305(keys[:32]), ChaCha20Poly1305(keys[32:64])
sent = got = 0
def say(m):
    global sent
    s.send(out.encrypt(struct.pack('>IQ', 0, sent), m, None))
    sent += 1
def hear():
    global got
    f = s.recv_multipart()
    m = inn.decrypt(struct.pack('>IQ', 0, got), f[0], None)
    got += 1
    return m, f[1:]

say(b'A' + struct.pack('>Q', 0))
info, _ = hear()
kind, version, pattern, topic, p = struct.unpack('>cBB8sQ', info)
assert (kind, version, pattern) == (b'I', 1, 0)
sub = c.socket(zmq.SUB)
sub.subscribe(topic)
sub.connect('tcp://' + addr)
say(b'S')
have, asked, published = {}, set(), 0
def take(n, m):
    assert struct.unpack('>Q', m[16:24])[0] == n
    have[n] = m
poller = zmq.Poller()
poller.register(s, zmq.POLLIN)
poller.register(sub, zmq.POLLIN)
while len(have) < want:
    ready = dict(poller.poll(240000))
    assert ready, 'nothing comes'
    if sub in ready:
        f = sub.recv_multipart()
        take(struct.unpack('>Q', f[0][8:])[0], f[1])
        published += 1
    if s in ready:
        m, rest = hear()
        if m[:1] == b'M':
            take(struct.unpack('>Q', m[1:])[0], rest[0])
        elif m[:1] == b'P':
            p = struct.unpack('>Q', m[1:])[0]
            for n in range(p):
                if n not in have and n not in asked and len(asked - set(have)) < 60:
                    asked.add(n)
                    say(b'G' + struct.pack('>QI', n, 1))
    at = 0
    while at in have:
        at += 1
    say(b'A' + struct.pack('>Q', at))
say(b'R' + json.dumps({'id': 'python', 'files': 5, 'bytes': 0}).encode())
while hear()[0] != b'K':
    pass
print(hashlib.sha256(b''.join(have[n] for n in range(want))).hexdigest(), published)
s.linger = 0
`

// A receiver that was written from the documentation, in another language, gets every
// message.
func TestPythonReceiver(t *testing.T) {
	const python = "/usr/bin/python3" // Debian's, which has Debian's libzmq
	if err := exec.Command(python, "-c", "import zmq, cryptography").Run(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("Debian's python3-zmq and python3-cryptography are not installed: %v", err)
		}
		t.Skipf("NOT TESTED against libzmq: Debian's python3-zmq or python3-cryptography is not installed (%v)", err)
	}
	x := send(t, testTree(t, 10<<20), SenderOptions{Patience: time.Minute})
	if err := <-x.summary; err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	all := sha256.New()
	n, err := func() (n int, err error) {
		x.mu.Lock()
		defer x.mu.Unlock()
		for ; n < len(x.sizes) && err == nil; n++ {
			var b []byte
			b, err = x.load(int64(n))
			all.Write(b)
		}
		return n, err
	}()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, python, "-c", pythonReceiver, x.Addr().String(), testCode, fmt.Sprint(n))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(out))
	if len(f) != 2 || f[0] != fmt.Sprintf("%x", all.Sum(nil)) {
		t.Errorf("%q", out)
	}
	t.Logf("%s of %d messages by the PUB", f[1], n)
	if r := <-x.received; r.ID != "python" || r.Files != 5 {
		t.Errorf("%+v", r)
	}
}
