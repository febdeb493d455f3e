package web

import (
	"net/http"
	"strconv"
	"strings"
)

// A form is how a directory is sent.
type form uint8

const (
	formHTML form = iota
	formJSON
	formTar
	formZip
	forms
)

var formTypes = [forms]string{"text/html", "application/json", "application/x-tar", "application/zip"}
var formNames = [forms]string{"html", "json", "tar", "zip"}

// negotiate chooses by ?as=, else by Accept (RFC 9110, section 12.5.1); the
// page wins where nothing is preferred.
func negotiate(r *http.Request) (form, bool) {
	if as := r.URL.Query().Get("as"); as != "" {
		for f, n := range formNames {
			if n == as {
				return form(f), true
			}
		}
		return 0, false
	}
	accept := strings.Join(r.Header.Values("Accept"), ",")
	if accept == "" {
		return formHTML, true
	}
	var q [forms]float64
	var specific [forms]int // how precise the range was that gave q
	for part := range strings.SplitSeq(accept, ",") {
		params := strings.Split(part, ";")
		kind := strings.ToLower(strings.TrimSpace(params[0]))
		weight := 1.0
		for _, p := range params[1:] {
			if v, ok := strings.CutPrefix(strings.ReplaceAll(strings.ToLower(p), " ", ""), "q="); ok {
				if x, err := strconv.ParseFloat(v, 64); err == nil && x >= 0 && x <= 1 {
					weight = x
				}
			}
		}
		for f, t := range formTypes {
			major, _, _ := strings.Cut(t, "/")
			level := 0
			switch kind {
			case t:
				level = 3
			case major + "/*":
				level = 2
			case "*/*":
				level = 1
			}
			if level > specific[f] {
				specific[f], q[f] = level, weight
			}
		}
	}
	best := formHTML
	for f := range forms {
		if q[f] > q[best] {
			best = f
		}
	}
	return best, q[best] > 0
}
