package netem

import (
	"math"
	"math/bits"

	"github.com/wherry-net/wherry/socket/units"
)

// A purpose separates the draws that are made for one packet.
type purpose uint64

const (
	forLoss purpose = 1 + iota
	forGilbertMove
	forGilbertLoss
	forReorder
	forDuplicate
	forCorrupt
	forCorruptBit
	forJitter // and the five after it: Normal takes six words
)

// draw returns 64 bits that depend on nothing but the arguments. It chains the
// finaliser of SplitMix64 (Steele, Lea and Flood 2014) over them, which passes
// each word through a bijection of full avalanche, so neighbouring packet
// numbers have unrelated draws.
func draw(seed, direction, index uint64, p purpose) uint64 {
	h := mix(seed + 0x9e3779b97f4a7c15)
	h = mix(h ^ direction + 0x9e3779b97f4a7c15)
	h = mix(h ^ uint64(p)*0xd1342543de82ef95)
	return mix(h ^ index*0x9e3779b97f4a7c15)
}

func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// A chance is a probability as a threshold for draws.
type chance struct {
	below uint64
	sure  bool // 1 has no threshold
}

func chanceOf(p units.Probability) chance {
	if p >= 1 {
		return chance{sure: true}
	}
	return chance{below: uint64(math.Ldexp(float64(p), 64))}
}

func (c chance) hit(draw uint64) bool { return c.sure || draw < c.below }

// uniform maps a draw to the integers in [-width, width].
func uniform(draw uint64, width int64) int64 {
	hi, _ := bits.Mul64(draw, uint64(2*width)+1)
	return int64(hi) - width
}

// normal maps six draws to a bell of standard deviation sd: the sum of twelve
// 32-bit uniforms (Irwin–Hall), which is within a thousandth of the normal
// distribution up to three sigma, ends at six, and takes integers only, so that
// no platform's fused multiply-add moves a packet.
func normal(next func(k purpose) uint64, sd int64) int64 {
	var sum int64
	for k := range purpose(6) {
		d := next(k)
		sum += int64(d>>32) + int64(d&math.MaxUint32)
	}
	sum -= 6 * math.MaxUint32
	neg := sum < 0
	if neg {
		sum = -sum
	}
	hi, lo := bits.Mul64(uint64(sum), uint64(sd))
	v := int64(hi<<32 | lo>>32)
	if neg {
		return -v
	}
	return v
}
