package report

import (
	"fmt"
	"io"
	"strings"
)

// writeMarkdown writes the report without its plots.
func writeMarkdown(w io.Writer, d *data) error {
	var b strings.Builder
	p := d.Plan
	fmt.Fprintf(&b, "# %s\n\n%s; engine %s, seed %d.\n", mdText(p.Name), d.Shape(), p.Engine, p.Seed)
	if !d.Whole {
		fmt.Fprintf(&b, "\n**Not finished: %d of %d runs. The same command continues.**\n", d.Done, d.Wanted)
	}
	if f := d.Findings(); len(f) > 0 {
		b.WriteString("\n")
		for _, s := range f {
			fmt.Fprintf(&b, "- %s\n", mdText(s))
		}
	}
	b.WriteString("\n## Results\n\n")
	if p.Repeat > 1 {
		fmt.Fprintf(&b, "Means with 95%% confidence intervals over %d repeats.\n\n", p.Repeat)
	}
	table := [][]string{{"link", "transport", "runs", "goodput, Mbit/s", "of the rate, %", "time, s", "sent again, %", "true loss, %", "queue p99, ms", "RTT median, ms", "limited by"}}
	for _, l := range d.Links {
		for _, c := range l.Cells {
			limit := c.Limit()
			if c.Missing > 0 {
				limit += fmt.Sprintf("; %d bytes missing", c.Missing)
			}
			table = append(table, []string{l.Link.String(), string(c.Transport), c.Runs(), figure(c.Goodput), mean(c.Use), figure(c.Seconds), figure(c.Again), mean(c.Drops), figure(c.Queue), figure(c.RTT), limit})
		}
	}
	mdTable(&b, table, 2)
	if len(d.Failures) > 0 {
		b.WriteString("\n## What failed\n\n")
		for _, s := range d.Failures {
			fmt.Fprintf(&b, "- %s\n", mdText(s))
		}
	}
	b.WriteString("\n## How it was measured\n\n")
	for _, s := range p.Notes() {
		fmt.Fprintf(&b, "- %s\n", mdText(s))
	}
	b.WriteString("\n")
	facts := [][]string{{"", ""}, {"wherry", d.Info.Version}}
	if len(d.Versions) > 1 {
		facts = append(facts, []string{"rows come from", strings.Join(d.Versions, "; ")})
	}
	if len(d.Info.Command) > 0 {
		facts = append(facts, []string{"command", "`" + strings.ReplaceAll(commandLine(d.Info.Command), "`", "'") + "`"})
	}
	facts = append(facts, []string{"seed", fmt.Sprintf("%d, one more for each further repeat", p.Seed)})
	if d.Info.Began != "" {
		facts = append(facts, []string{"measured", d.Info.Began})
	}
	for _, f := range d.Info.System {
		facts = append(facts, []string{f.Name, f.Value})
	}
	mdTable(&b, facts, 2)
	if p.Source != "" {
		source := cleanLines(p.Source)
		fence := "```"
		for strings.Contains(source, fence) {
			fence += "`"
		}
		fmt.Fprintf(&b, "\n## The plan\n\n%syaml\n%s\n%s\n", fence, source, fence)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// mdTable writes a table whose first left columns are aligned left, and the rest
// right; the columns line up in the source, too.
func mdTable(b *strings.Builder, rows [][]string, left int) {
	wide := make([]int, len(rows[0]))
	for _, r := range rows {
		for i, s := range r {
			wide[i] = max(wide[i], len([]rune(mdCell(s))), 3)
		}
	}
	line := func(r []string) {
		for i, s := range r {
			s = mdCell(s)
			gap := strings.Repeat(" ", wide[i]-len([]rune(s)))
			if i < left {
				s += gap
			} else {
				s = gap + s
			}
			b.WriteString("| " + s + " ")
		}
		b.WriteString("|\n")
	}
	line(rows[0])
	for i := range rows[0] {
		if i < left {
			b.WriteString("| " + strings.Repeat("-", wide[i]) + " ")
		} else {
			b.WriteString("| " + strings.Repeat("-", wide[i]-1) + ": ")
		}
	}
	b.WriteString("|\n")
	for _, r := range rows[1:] {
		line(r)
	}
}

func mdCell(s string) string {
	if strings.HasPrefix(s, "`") {
		return strings.ReplaceAll(s, "|", `\|`)
	}
	return mdText(s)
}

// mdText escapes what Markdown would take for markup.
func mdText(s string) string {
	var b strings.Builder
	for _, r := range s {
		if strings.ContainsRune("\\`*_[]<>|#&", r) {
			b.WriteByte('\\')
		}
		if r < 0x20 {
			r = ' '
		}
		b.WriteRune(r)
	}
	return b.String()
}
