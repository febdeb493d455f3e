package lab

import (
	"strings"

	"github.com/wherry-net/wherry/socket/safetext"
)

// suggest says which of the names was meant, or all there are.
func suggest(word string, fields []field) string {
	best, at := 3, -1 // two slips at most
	word = strings.ToLower(safetext.Truncate(word, 40))
	for i := range fields {
		d := distance(word, fields[i].name)
		if strings.HasPrefix(fields[i].name, word) && word != "" || strings.HasPrefix(word, fields[i].name) {
			d = min(d, 2)
		}
		if d < best && d < len(fields[i].name) {
			best, at = d, i
		}
	}
	if at >= 0 {
		return "did you mean " + fields[at].name + "?"
	}
	return "want one of " + names(fields)
}

// distance counts the letters to insert, remove or replace to make b of a
// (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
