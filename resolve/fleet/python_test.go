package fleet

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/wherry-net/wherry/resolve/bulk"
)

// pythonWorker is a worker as the documentation of this package and of psk has it,
// on libzmq and without anything of ours.
const pythonWorker = `
import sys, os, json, struct, hashlib, hmac, zmq
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

addr, words = sys.argv[1:3]
label = b'wherry psk 1'
secret = hashlib.scrypt(words.encode(), salt=label + b' lookup fleet', n=2**15, r=8, p=1, maxmem=2**26, dklen=32)

def hkdf(secret, salt, info, n):
    prk, out, t = hmac.new(salt, secret, 'sha256').digest(), b'', b''
    while len(out) < n:
        t = hmac.new(prk, t + info + bytes([len(out) // 32 + 1]), 'sha256').digest()
        out += t
    return out[:n]

s = zmq.Context().socket(zmq.DEALER)
s.rcvtimeo, s.linger = 300000, 0
s.connect('tcp://' + addr)
nonce = os.urandom(32)
s.send(label + nonce)
welcome = s.recv()
assert welcome[:12] == label
keys = hkdf(secret, nonce + welcome[12:44], label, 80)
assert keys[64:] == welcome[44:], 'another code'
out, inn = ChaCha20Poly1305(keys[:32]), ChaCha20Poly1305(keys[32:64])
sent = got = 0
def say(m):
    global sent
    s.send(out.encrypt(struct.pack('>IQ', 0, sent), m, None))
    sent += 1

say(b'C' + struct.pack('>I', 2))
while True:
    m = inn.decrypt(struct.pack('>IQ', 0, got), s.recv(), None)
    got += 1
    if m == b'E':
        break
    assert m[:1] == b'N'
    head, *lines = m[9:].decode().splitlines()
    h = json.loads(head)
    assert h['wherry'] == 'names' and h['v'] == 1 and h['lines'] == len(lines)
    r = json.dumps({'wherry': 'results', 'v': 1, 'job': h['job'], 'batch': h['batch'], 'worker': 'python', 'lines': len(lines)}) + '\n'
    for l in lines:
        n, name = l.split(' ', 1)
        text = n + ' is ' + name + '\n'
        r += n + ' ' + str(len(text)) + '\n' + text
    say(b'R' + r.encode())
    say(b'D' + m[1:9])
    say(b'C' + struct.pack('>I', 1))
`

// A worker that was written from the documentation, in another language, works.
func TestPythonWorker(t *testing.T) {
	const python = "/usr/bin/python3" // Debian's, which has Debian's libzmq
	if err := exec.Command(python, "-c", "import zmq, cryptography").Run(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("Debian's python3-zmq and python3-cryptography are not installed: %v", err)
		}
		t.Skipf("NOT TESTED against libzmq: Debian's python3-zmq or python3-cryptography is not installed (%v)", err)
	}
	z := listenZeroMQ(t, ZeroMQOptions{})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, "-c", pythonWorker, z.Addr().String(), testWords)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	const n = 1000
	var out bytes.Buffer
	stats, err := Coordinate(ctx, z, strings.NewReader(list(n)), &out, Options{Job: "job", Lines: 30, Format: bulk.Text, Ordered: true})
	if err := errors.Join(err, z.Finish(ctx), cmd.Wait()); err != nil {
		t.Fatal(err)
	}
	if stats.Strange != 0 || len(stats.Workers) != 1 || stats.Workers[0].Name != "python" {
		t.Errorf("%+v", stats)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != n || lines[0] != "1 is n0.example" || lines[n-1] != "1000 is n999.example" {
		t.Errorf("%d lines: %q … %q", len(lines), lines[0], lines[len(lines)-1])
	}
}
