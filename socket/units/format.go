package units

import "fmt"

// FormatBytes is n for people, in the binary units that ls and df use, to three
// digits: "1.5 KiB". [Size] prints exactly instead.
func FormatBytes(n int64) string {
	const prefixes = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1024, 0
	for f >= 999.5 && i < len(prefixes)-1 {
		f /= 1024
		i++
	}
	return fmt.Sprintf("%.3g %ciB", f, prefixes[i])
}
