package pairing

import (
	"slices"
	"sync"

	"github.com/sethvargo/go-diceware/diceware"
)

// wordCount is the length of the list: 11 bits a word.
const wordCount = 2048

// Words is the list that codes are drawn from, in alphabetical order: of EFF's
// large list for passphrases, which was made to be easy to say, spell and
// remember and to offend nobody, the 2,048 shortest words of a to z that differ
// within their first four letters (the first of each such group, by length,
// then alphabet). The list is no part of the protocol: any words are a code.
//
// The caller must not change it.
var Words = sync.OnceValue(func() []string {
	list := diceware.WordListEffLarge()
	var all []string
	// Its words are numbered by five throws of a die.
	for i := 11111; i <= 66666; i++ {
		if w := list.WordAt(i); w != "" && plain(w) {
			all = append(all, w)
		}
	}
	slices.SortFunc(all, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		if a < b {
			return -1
		}
		return 1
	})
	seen := make(map[string]bool, wordCount)
	words := make([]string, 0, wordCount)
	for _, w := range all {
		if p := w[:min(4, len(w))]; !seen[p] && len(words) < wordCount {
			seen[p] = true
			words = append(words, w)
		}
	}
	slices.Sort(words)
	return words
})

// plain says that w is of a to z: a dash would part it when it is typed.
func plain(w string) bool {
	for _, r := range w {
		if r < 'a' || r > 'z' {
			return false
		}
	}
	return true
}
