//go:build linux

package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPage opens the report as a reader would: from the disk, without a network,
// on a desk and on a phone, by day and by night. WHERRY_SCREENSHOTS=DIR keeps what
// it looks like.
func TestPage(t *testing.T) {
	res := sample(t)
	if err := Write(res, Info{Version: "test", Command: []string{"wherry", "lab", "run", "plan.yaml"}, System: System()}); err != nil {
		t.Fatal(err)
	}
	b := openBrowser(t)
	file := filepath.Join(res.Dir, HTML)
	if other := os.Getenv("WHERRY_REPORT"); other != "" {
		file = other
	}
	b.open("file://" + file)
	for _, c := range b.complaints() {
		t.Error(c)
	}
	for _, v := range []struct {
		name, scheme, media string
		width               int
	}{
		{"desktop-light", "light", "screen", 1280},
		{"desktop-dark", "dark", "screen", 1280},
		{"phone-light", "light", "screen", 390},
		{"phone-dark", "dark", "screen", 390},
		{"narrow", "light", "screen", 320},
		{"paper", "light", "print", 760},
	} {
		t.Run(v.name, func(t *testing.T) {
			b.t = t
			b.look(v.width, v.scheme, v.media)
			var page struct {
				Width, Height float64
				Charts        int
				Title         string
				Ink, Paper    string
				Small         float64 // the smallest writing in a drawing, in pixels
				Out           []string
			}
			b.eval(`(() => {
				const box = document.querySelector(".plot").getBoundingClientRect();
				const out = [];
				for (const t of document.querySelectorAll(".plot text")) {
					const r = t.getBoundingClientRect();
					if (r.width && (r.left < -1 || r.right > innerWidth + 1)) out.push(t.textContent);
				}
				return {
					Width: document.documentElement.scrollWidth, Height: document.documentElement.scrollHeight,
					Charts: document.querySelectorAll("svg.plot").length, Title: document.title,
					Ink: getComputedStyle(document.body).color, Paper: getComputedStyle(document.body).backgroundColor,
					Small: 11 * box.width / 480, Out: out,
				};
			})()`, &page)
			if page.Width > float64(v.width) {
				t.Errorf("%v pixels wide, so that it scrolls sideways at %d", page.Width, v.width)
			}
			if page.Charts < 8 || !strings.Contains(page.Title, res.Plan.Name) {
				t.Errorf("%d charts, title %q", page.Charts, page.Title)
			}
			if page.Small < 6.5 {
				t.Errorf("writing of %.1f pixels in the charts", page.Small)
			}
			if len(page.Out) > 0 {
				t.Errorf("writing outside the page: %q", page.Out)
			}
			if dark := v.scheme == "dark"; dark != (page.Paper == "rgb(20, 23, 26)") || page.Ink == page.Paper {
				t.Errorf("ink %s on %s", page.Ink, page.Paper)
			}
			if dir := os.Getenv("WHERRY_SCREENSHOTS"); dir != "" {
				for i, top := 0, 0; top < int(page.Height) && i < 8; i, top = i+1, top+1600 {
					b.screenshot(filepath.Join(dir, v.name+"-"+string(rune('a'+i))+".png"), v.width, top, min(1600, int(page.Height)-top))
				}
			}
		})
	}
	b.t = t
	for _, c := range b.complaints() {
		t.Error(c)
	}
}
