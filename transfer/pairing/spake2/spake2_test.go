package spake2

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"testing"

	"filippo.io/nistec"
)

// The test vectors of RFC 9382, appendix B, SPAKE2-P256-SHA256-HKDF-HMAC.
var vectors = []struct {
	a, b         string
	w, x, y      string
	pA, pB, k    string
	hashTT       string // Ke || Ka
	confA, confB string
}{
	{
		a: "server", b: "client",
		w:      "2ee57912099d31560b3a44b1184b9b4866e904c49d12ac5042c97dca461b1a5f",
		x:      "43dd0fd7215bdcb482879fca3220c6a968e66d70b1356cac18bb26c84a78d729",
		y:      "dcb60106f276b02606d8ef0a328c02e4b629f84f89786af5befb0bc75b6e66be",
		pA:     "04a56fa807caaa53a4d28dbb9853b9815c61a411118a6fe516a8798434751470f9010153ac33d0d5f2047ffdb1a3e42c9b4e6be662766e1eeb4116988ede5f912c",
		pB:     "0406557e482bd03097ad0cbaa5df82115460d951e3451962f1eaf4367a420676d09857ccbc522686c83d1852abfa8ed6e4a1155cf8f1543ceca528afb591a1e0b7",
		k:      "0412af7e89717850671913e6b469ace67bd90a4df8ce45c2af19010175e37eed69f75897996d539356e2fa6a406d528501f907e04d97515fbe83db277b715d3325",
		hashTT: "0e0672dc86f8e45565d338b0540abe6915bdf72e2b35b5c9e5663168e960a91b",
		confA:  "58ad4aa88e0b60d5061eb6b5dd93e80d9c4f00d127c65b3b35b1b5281fee38f0",
		confB:  "d3e2e547f1ae04f2dbdbf0fc4b79f8ecff2dff314b5d32fe9fcef2fb26dc459b",
	},
	{
		a: "", b: "client",
		w:      "0548d8729f730589e579b0475a582c1608138ddf7054b73b5381c7e883e2efae",
		x:      "403abbe3b1b4b9ba17e3032849759d723939a27a27b9d921c500edde18ed654b",
		y:      "903023b6598908936ea7c929bd761af6039577a9c3f9581064187c3049d87065",
		pA:     "04a897b769e681c62ac1c2357319a3d363f610839c4477720d24cbe32f5fd85f44fb92ba966578c1b712be6962498834078262caa5b441ecfa9d4a9485720e918a",
		pB:     "04e0f816fd1c35e22065d5556215c097e799390d16661c386e0ecc84593974a61b881a8c82327687d0501862970c64565560cb5671f696048050ca66ca5f8cc7fc",
		k:      "048f83ec9f6e4f87cc6f9dc740bdc2769725f923364f01c84148c049a39a735ebda82eac03e00112fd6a5710682767cff5361f7e819e53d8d3c3a2922e0d837aa6",
		hashTT: "642f05c473c2cd79909f9a841e2f30a70bf89b18180af97353ba198789c2b963",
		confA:  "47d29e6666af1b7dd450d571233085d7a9866e4d49d2645e2df975489521232b",
		confB:  "3313c5cefc361d27fb16847a91c2a73b766ffa90a4839122a9b70a2f6bd1d6df",
	},
	{
		a: "server", b: "",
		w:      "626e0cdc7b14c9db3e52a0b1b3a768c98e37852d5db30febe0497b14eae8c254",
		x:      "07adb3db6bc623d3399726bfdbfd3d15a58ea776ab8a308b00392621291f9633",
		y:      "b6a4fc8dbb629d4ba51d6f91ed1532cf87adec98f25dd153a75accafafedec16",
		pA:     "04f88fb71c99bfffaea370966b7eb99cd4be0ff1a7d335caac4211c4afd855e2e15a873b298503ad8ba1d9cbb9a392d2ba309b48bfd7879aefd0f2cea6009763b0",
		pB:     "040c269d6be017dccb15182ac6bfcd9e2a14de019dd587eaf4bdfd353f031101e7cca177f8eb362a6e83e7d5e729c0732e1b528879c086f39ba0f31a9661bd34db",
		k:      "0445ee233b8ecb51ebd6e7da3f307e88a1616bae2166121221fdc0dadb986afaf3ec8a988dc9c626fa3b99f58a7ca7c9b844bb3e8dd9554aafc5b53813504c1cbe",
		hashTT: "005184ff460da2ce59062c87733c299c3521297d736598fc0a1127600efa1afb",
		confA:  "bc9f9bbe99f26d0b2260e6456e05a86196a3307ec6663a18bf6ac825736533b2",
		confB:  "c2370e1bf813b086dff0d834e74425a06e6390f48f5411900276dcccc5a297ec",
	},
	{
		a: "", b: "",
		w:      "7bf46c454b4c1b25799527d896508afd5fc62ef4ec59db1efb49113063d70cca",
		x:      "8cef65df64bb2d0f83540c53632de911b5b24b3eab6cc74a97609fd659e95473",
		y:      "d7a66f64074a84652d8d623a92e20c9675c61cb5b4f6a0063e4648a2fdc02d53",
		pA:     "04a65b367a3f613cf9f0654b1b28a1e3a8a40387956c8ba6063e8658563890f46ca1ef6a676598889fc28de2950ab8120b79a5ef1ea4c9f44bc98f585634b46d66",
		pB:     "04589f13218822710d98d8b2123a079041052d9941b9cf88c6617ddb2fcc0494662eea8ba6b64692dc318250030c6af045cb738bc81ba35b043c3dcb46adf6f58d",
		k:      "041a3c03d51b452537ca2a1fea6110353c6d5ed483c4f0f86f4492ca3f378d40a994b4477f93c64d928edbbcd3e85a7c709b7ea73ee97986ce3d1438e135543772",
		hashTT: "fc6374762ba5cf11f4b2caa08b2cd1b9907ae0e26e8d6234318d91583cd74c86",
		confA:  "dfb4db8d48ae5a675963ea5e6c19d98d4ea028d8e898dad96ea19a80ade95dca",
		confB:  "d0f0609d1613138d354f7e95f19fb556bf52d751947241e8c7118df5ef0ae175",
	},
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVectorsOfRFC9382(t *testing.T) {
	for _, v := range vectors {
		t.Run(fmt.Sprintf("A=%q,B=%q", v.a, v.b), func(t *testing.T) {
			p := &Password{w: [32]byte(unhex(t, v.w))}
			a, err := withScalar(A, p, [32]byte(unhex(t, v.x)))
			if err != nil {
				t.Fatal(err)
			}
			b, err := withScalar(B, p, [32]byte(unhex(t, v.y)))
			if err != nil {
				t.Fatal(err)
			}
			want := func(what, want string, got []byte) {
				t.Helper()
				if hex.EncodeToString(got) != want {
					t.Errorf("%s = %x, want %s", what, got, want)
				}
			}
			want("pA", v.pA, a.Share())
			want("pB", v.pB, b.Share())
			agA, err := a.Agree(b.Share())
			if err != nil {
				t.Fatal(err)
			}
			agB, err := b.Agree(a.Share())
			if err != nil {
				t.Fatal(err)
			}
			want("K at A", v.k, agA.k)
			want("K at B", v.k, agB.k)
			kA, err := agA.Keys([]byte(v.a), []byte(v.b), nil)
			if err != nil {
				t.Fatal(err)
			}
			kB, err := agB.Keys([]byte(v.a), []byte(v.b), nil)
			if err != nil {
				t.Fatal(err)
			}
			want("Ke at A", v.hashTT[:32], kA.Key())
			want("Ke at B", v.hashTT[:32], kB.Key())
			want("cA", v.confA, kA.Confirmation())
			want("cB", v.confB, kB.Confirmation())
			if err := kA.Verify(unhex(t, v.confB)); err != nil {
				t.Error(err)
			}
			if err := kB.Verify(unhex(t, v.confA)); err != nil {
				t.Error(err)
			}
		})
	}
}

// run lets two ends meet and gives what each makes of the other.
func run(t testing.TB, pwA, pwB *Password, idsA, idsB [2]string, aadA, aadB string) (errA, errB error) {
	t.Helper()
	a, err := New(A, pwA)
	if err != nil {
		t.Fatal(err)
	}
	b, err := New(B, pwB)
	if err != nil {
		t.Fatal(err)
	}
	agA, err := a.Agree(b.Share())
	if err != nil {
		t.Fatal(err)
	}
	agB, err := b.Agree(a.Share())
	if err != nil {
		t.Fatal(err)
	}
	kA, err := agA.Keys([]byte(idsA[0]), []byte(idsA[1]), []byte(aadA))
	if err != nil {
		t.Fatal(err)
	}
	kB, err := agB.Keys([]byte(idsB[0]), []byte(idsB[1]), []byte(aadB))
	if err != nil {
		t.Fatal(err)
	}
	return kA.Verify(kB.Confirmation()), kB.Verify(kA.Confirmation())
}

func TestOnlyTheSameRunConfirms(t *testing.T) {
	pw, other := password(t, "cedar-otter"), password(t, "cedar-other")
	ids := [2]string{"dialer", "listener"}
	for _, tt := range []struct {
		name       string
		pwB        *Password
		idsB       [2]string
		aadA, aadB string
		ok         bool
	}{
		{"same", pw, ids, "x", "x", true},
		{"other password", other, ids, "x", "x", false},
		{"swapped identities", pw, [2]string{"listener", "dialer"}, "x", "x", false},
		{"identity boundary moved", pw, [2]string{"dialerl", "istener"}, "x", "x", false},
		{"other channel", pw, ids, "x", "y", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			errA, errB := run(t, pw, tt.pwB, ids, tt.idsB, tt.aadA, tt.aadB)
			if tt.ok != (errA == nil) || tt.ok != (errB == nil) {
				t.Errorf("A: %v, B: %v", errA, errB)
			}
			if !tt.ok && (!errors.Is(errA, ErrConfirmation) || !errors.Is(errB, ErrConfirmation)) {
				t.Errorf("A: %v, B: %v, want ErrConfirmation", errA, errB)
			}
		})
	}
}

func password(t testing.TB, s string) *Password {
	t.Helper()
	p, err := Stretch([]byte(s), []byte("spake2 test salt"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestInvalidShares(t *testing.T) {
	pw := password(t, "cedar-otter")
	generator := nistec.NewP256Point().SetGenerator()
	good := generator.Bytes()
	offCurve := bytes.Clone(good)
	offCurve[64] ^= 1
	unreduced := bytes.Repeat([]byte{0xff}, ShareLen)
	unreduced[0] = 4
	hybrid := bytes.Clone(good)
	hybrid[0] = 6
	identityTail := make([]byte, ShareLen)
	identityTail[0] = 4
	maskN, err := mask(B, pw.w[:])
	if err != nil {
		t.Fatal(err)
	}
	for name, share := range map[string][]byte{
		"empty":                             nil,
		"identity":                          {0},
		"identity, padded":                  make([]byte, ShareLen),
		"the point 0,0":                     identityTail,
		"compressed":                        generator.BytesCompressed(),
		"hybrid":                            hybrid,
		"a byte short":                      good[:64],
		"a byte long":                       append(bytes.Clone(good), 0),
		"off the curve":                     offCurve,
		"coordinates not reduced":           unreduced,
		"w*N, which makes K the identity":   maskN.Bytes(),
		"64 KiB of nothing in particular..": make([]byte, 64<<10),
	} {
		t.Run(name, func(t *testing.T) {
			e, err := New(A, pw)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := e.Agree(share); !errors.Is(err, ErrShare) {
				t.Errorf("Agree = %v, want ErrShare", err)
			}
			if _, err := e.Agree(good); !errors.Is(err, ErrUsed) {
				t.Errorf("second Agree = %v, want ErrUsed", err)
			}
		})
	}
}

// A party that is sent its own messages back must not believe them.
func TestReflection(t *testing.T) {
	for _, side := range []Side{A, B} {
		e, err := New(side, password(t, "cedar-otter"))
		if err != nil {
			t.Fatal(err)
		}
		ag, err := e.Agree(e.Share())
		if errors.Is(err, ErrShare) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		k, err := ag.Keys([]byte("a"), []byte("b"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := k.Verify(k.Confirmation()); !errors.Is(err, ErrConfirmation) {
			t.Errorf("side %d believes its own confirmation: %v", side, err)
		}
	}
}

func TestVerifyLengths(t *testing.T) {
	e, _ := New(A, password(t, "x"))
	f, _ := New(B, password(t, "x"))
	ag, err := e.Agree(f.Share())
	if err != nil {
		t.Fatal(err)
	}
	k, err := ag.Keys(nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][]byte{nil, {}, k.peer[:31], append(bytes.Clone(k.peer), 0), make([]byte, 32)} {
		if err := k.Verify(c); !errors.Is(err, ErrConfirmation) {
			t.Errorf("Verify of %d bytes: %v", len(c), err)
		}
	}
}

// reduce is checked against math/big, at the edges and at random.
func TestReduce(t *testing.T) {
	n := new(big.Int).SetBytes(order[:])
	edge := func(d int64, times int64) []byte {
		x := new(big.Int).Mul(n, big.NewInt(times))
		x.Add(x, big.NewInt(d))
		return x.FillBytes(make([]byte, stretchedLen))
	}
	inputs := [][]byte{edge(1, 0), edge(-1, 1), edge(1, 1), edge(-1, 2), edge(5, 1<<40), bytes.Repeat([]byte{0xff}, stretchedLen)}
	for range 200 {
		b := make([]byte, stretchedLen)
		rand.Read(b)
		inputs = append(inputs, b)
	}
	for _, in := range inputs {
		p, err := reduce(in)
		if err != nil {
			t.Fatal(err)
		}
		want := new(big.Int).Mod(new(big.Int).SetBytes(in), n).FillBytes(make([]byte, 32))
		if !bytes.Equal(p.w[:], want) {
			t.Errorf("reduce(%x) = %x, want %x", in, p.w, want)
		}
	}
	for _, zero := range [][]byte{edge(0, 0), edge(0, 1), edge(0, 77)} {
		if _, err := reduce(zero); err == nil {
			t.Errorf("reduce(%x) accepted a multiple of n", zero)
		}
	}
}

func TestRandomScalar(t *testing.T) {
	minusOne := order
	minusOne[31]--
	stream := append(bytes.Repeat([]byte{0xff}, 32), order[:]...)
	stream = append(stream, make([]byte, 32)...)
	stream = append(stream, minusOne[:]...)
	got, err := randomScalar(bytes.NewReader(stream))
	if err != nil || got != minusOne {
		t.Errorf("randomScalar = %x, %v: want the first draw within [1, n-1]", got, err)
	}
	if _, err := randomScalar(bytes.NewReader(make([]byte, 1000))); err == nil {
		t.Error("a source of zeros gave a scalar")
	}
	if _, err := randomScalar(bytes.NewReader(nil)); err == nil {
		t.Error("an empty source gave a scalar")
	}
}

func TestPasswordIsNotPrinted(t *testing.T) {
	p := password(t, "cedar-otter")
	for _, f := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(f, p); s != "[redacted]" {
			t.Errorf("%s prints %q", f, s)
		}
	}
	if _, err := Stretch(nil, nil); err == nil {
		t.Error("an empty password was stretched")
	}
}

func FuzzAgree(f *testing.F) {
	for _, v := range vectors {
		f.Add(unhex(f, v.pA))
	}
	f.Add([]byte{0})
	f.Add(nistec.NewP256Point().SetGenerator().BytesCompressed())
	pw := password(f, "cedar-otter")
	f.Fuzz(func(t *testing.T, share []byte) {
		e, err := New(B, pw)
		if err != nil {
			t.Fatal(err)
		}
		ag, err := e.Agree(share)
		if err != nil {
			if !errors.Is(err, ErrShare) {
				t.Fatal(err)
			}
			return
		}
		// Whoever makes a share without the password cannot make the proof; the
		// one guess that needs no password is our own.
		k, err := ag.Keys(nil, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if k.Verify(k.Confirmation()) == nil {
			t.Fatal("cA equals cB")
		}
	})
}

func BenchmarkStretch(b *testing.B) {
	for b.Loop() {
		Stretch([]byte("cedar-otter"), []byte("spake2 test salt"))
	}
}

func BenchmarkRun(b *testing.B) {
	p := password(b, "cedar-otter")
	for b.Loop() {
		run(b, p, p, [2]string{}, [2]string{}, "", "")
	}
}
