package netem

import (
	"fmt"
	"strings"

	"github.com/wherry-net/wherry/socket/units"
)

// ParseGilbertElliott reads "p [r [1-h [1-k]]]" as tc-netem(8) does, with
// blanks or commas between: r is 100%−p where it is missing, 1-h is 100% and
// 1-k is 0%.
func ParseGilbertElliott(s string) (*GilbertElliott, error) {
	f := strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' })
	if len(f) < 1 || len(f) > 4 {
		return nil, fmt.Errorf("gemodel %q: %w: want p [r [1-h [1-k]]], such as 1%% 25%%", s, ErrConfig)
	}
	var v [4]units.Probability
	for i := range f {
		p, err := units.ParseProbability(f[i])
		if err != nil {
			return nil, fmt.Errorf("gemodel %q: %w", s, err)
		}
		v[i] = p
	}
	g := &GilbertElliott{P: v[0], R: 1 - v[0], LossBad: 1, LossGood: v[3]}
	if len(f) > 1 {
		g.R = v[1]
	}
	if len(f) > 2 {
		g.LossBad = v[2]
	}
	return g, nil
}
