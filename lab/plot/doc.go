// Package plot draws line charts and ladder diagrams as SVG that is meant to stand
// inside an HTML page: colours, fonts and strokes come from the page's style sheet
// ([Style]), so that one drawing serves light and dark, screen and paper. A
// drawing is 480 units wide and can be shown from 340 pixels up without its
// writing becoming too small to read.
//
// The libraries that there are draw with fonts of their own and fixed colours;
// the best kept of them, gonum's, adds nine megabytes to the program, 26 modules
// to its dependencies and 280 KiB to what is set up before main on every start.
// What a report needs is one kind of chart.
//
// # Telling series apart
//
// A series has a slot, which chooses its colour, its marker and its dashes. The
// colours are Okabe and Ito's, which people of every kind of colour vision can
// tell apart, made darker on white and lighter on black until each has a contrast
// of 3:1 or more (WCAG 2, graphical objects). Who prints in grey still has markers
// and dashes.
//
// # Classes
//
//	plot                 the svg element
//	plot-grid plot-axis  lines of the frame
//	plot-s0 … plot-s7    a series: sets --c
//	plot-line plot-mark plot-dots plot-bar plot-theory   what is drawn in var(--c)
package plot

import _ "embed"

// Style is the style sheet, to be put into the page once.
//
//go:embed style.css
var Style string
