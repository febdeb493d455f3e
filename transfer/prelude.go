package transfer

import "errors"

// A prelude is a manifest that is short and known before the other end has said
// anything. An end that dialed sends it with its hello, which saves a round trip:
// whoever it is has proved the code by then, if there is one. An end that listens
// hears the other's hello as soon as it could send its own.
type prelude struct {
	entries []Entry
	skipped []skipped
	frames  []byte
}

type skipped struct {
	path string
	why  error
}

// maxPrelude is how many entries are listed beforehand: few enough to cost nothing
// should the list turn out to be longer.
const maxPrelude = 64

var errLong = errors.New("too long a list")

// newPrelude lists src; nil means that it is not short, or has something in it that
// the other end may not know how to take, or cannot be listed.
func newPrelude(src *Source) *prelude {
	p := &prelude{}
	var list []byte
	end := manifestEnd{}
	err := src.walkFew(maxPrelude, func(e Entry) error {
		list = e.append(list)
		if p.entries = append(p.entries, e); e.Holes > 0 || len(p.entries) > maxPrelude || len(list) > maxControl/2 {
			return errLong
		}
		var t Totals
		t.Count(&e)
		end.Entries, end.Bytes = end.Entries+1, end.Bytes+uint64(t.Bytes)
		return nil
	}, func(path string, why error) {
		p.skipped = append(p.skipped, skipped{path, why})
		end.Skipped++
	})
	if err != nil || len(p.skipped) > maxPrelude {
		return nil
	}
	if len(list) > 0 {
		p.frames = appendFrame(p.frames, frameManifest, list)
	}
	p.frames = appendFrame(p.frames, frameManifestEnd, end.encode())
	return p
}

// walk is the source's, from memory.
func (p *prelude) walk(yield func(Entry) error, skip func(path string, why error)) error {
	for _, s := range p.skipped {
		skip(s.path, s.why)
	}
	for _, e := range p.entries {
		if err := yield(e); err != nil {
			return err
		}
	}
	return nil
}
