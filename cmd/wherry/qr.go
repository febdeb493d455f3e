package main

import (
	"strings"

	"rsc.io/qr"
)

// drawQR draws a QR code with two modules to a character, dark on light whatever
// the terminal's colours are, with the quiet zone of four modules that readers
// need (ISO/IEC 18004).
func drawQR(c *qr.Code) string {
	const quiet = 4
	var b strings.Builder
	for y := -quiet; y < c.Size+quiet; y += 2 {
		b.WriteString("\x1b[30;107m")
		for x := -quiet; x < c.Size+quiet; x++ {
			// Black is false outside the code.
			switch top, bottom := c.Black(x, y), c.Black(x, y+1); {
			case top && bottom:
				b.WriteString("█")
			case top:
				b.WriteString("▀")
			case bottom:
				b.WriteString("▄")
			default:
				b.WriteByte(' ')
			}
		}
		b.WriteString("\x1b[0m\n")
	}
	return b.String()
}
