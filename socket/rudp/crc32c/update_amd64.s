#include "textflag.h"

// To move 128 bits of a message D bits further back, the halves are multiplied by
// x^(D+32) and x^(D-32) modulo the polynomial; bits are reflected, which leaves
// products shifted by one, and so the constants are.
//
//	0    D = 2048, four times: from one round of 256 bytes to the next
//	64   D = 512, four times: from one register to the next
//	128  D = 384, 256, 128, and nothing: from each quarter to the last
DATA fold<>+0(SB)/8, $0xdcb17aa4
DATA fold<>+8(SB)/8, $0xb9e02b86
DATA fold<>+16(SB)/8, $0xdcb17aa4
DATA fold<>+24(SB)/8, $0xb9e02b86
DATA fold<>+32(SB)/8, $0xdcb17aa4
DATA fold<>+40(SB)/8, $0xb9e02b86
DATA fold<>+48(SB)/8, $0xdcb17aa4
DATA fold<>+56(SB)/8, $0xb9e02b86
DATA fold<>+64(SB)/8, $0x740eef02
DATA fold<>+72(SB)/8, $0x9e4addf8
DATA fold<>+80(SB)/8, $0x740eef02
DATA fold<>+88(SB)/8, $0x9e4addf8
DATA fold<>+96(SB)/8, $0x740eef02
DATA fold<>+104(SB)/8, $0x9e4addf8
DATA fold<>+112(SB)/8, $0x740eef02
DATA fold<>+120(SB)/8, $0x9e4addf8
DATA fold<>+128(SB)/8, $0x1c291d04
DATA fold<>+136(SB)/8, $0x1d82c63da
DATA fold<>+144(SB)/8, $0x1384aa63a
DATA fold<>+152(SB)/8, $0xba4fc28e
DATA fold<>+160(SB)/8, $0xf20c0dfe
DATA fold<>+168(SB)/8, $0x14cd00bd6
DATA fold<>+176(SB)/8, $0x0
DATA fold<>+184(SB)/8, $0x0
GLOBL fold<>(SB), RODATA|NOPTR, $192

// MOVE multiplies x by the constants k and adds what stands where x moves to.
#define MOVE(k, x, at, t, u) \
	VPCLMULQDQ $0x00, k, x, t; \
	VPCLMULQDQ $0x11, k, x, u; \
	VMOVDQU64  at, x; \
	VPTERNLOGQ $0x96, t, u, x

// JOIN moves x onto y.
#define JOIN(k, x, y, t, u) \
	VPCLMULQDQ $0x00, k, x, t; \
	VPCLMULQDQ $0x11, k, x, u; \
	VPTERNLOGQ $0x96, t, u, y

// func update(state uint32, p []byte) uint32
TEXT ·update(SB), NOSPLIT, $0-36
	MOVL      state+0(FP), AX
	MOVQ      p_base+8(FP), SI
	MOVQ      p_len+16(FP), CX
	VMOVDQU64 (SI), Z0
	VMOVDQU64 64(SI), Z1
	VMOVDQU64 128(SI), Z2
	VMOVDQU64 192(SI), Z3
	VMOVD     AX, X4 // and zeros above
	VPXORQ    Z4, Z0, Z0
	ADDQ      $256, SI
	SUBQ      $256, CX
	VMOVDQU64 fold<>+0(SB), Z4

rounds:
	CMPQ CX, $256
	JB   join
	MOVE(Z4, Z0, (SI), Z5, Z6)
	MOVE(Z4, Z1, 64(SI), Z7, Z8)
	MOVE(Z4, Z2, 128(SI), Z9, Z10)
	MOVE(Z4, Z3, 192(SI), Z11, Z12)
	ADDQ $256, SI
	SUBQ $256, CX
	JMP  rounds

join:
	VMOVDQU64 fold<>+64(SB), Z4
	JOIN(Z4, Z0, Z1, Z5, Z6)
	JOIN(Z4, Z1, Z2, Z5, Z6)
	JOIN(Z4, Z2, Z3, Z5, Z6)

registers:
	CMPQ CX, $64
	JB   quarters
	MOVE(Z4, Z3, (SI), Z5, Z6)
	ADDQ $64, SI
	SUBQ $64, CX
	JMP  registers

quarters: // the last of them stays, which the constants leave out
	VMOVDQU64     fold<>+128(SB), Z4
	VEXTRACTI32X4 $3, Z3, X7
	JOIN(Z4, Z3, Z7, Z5, Z6)
	VEXTRACTI64X4 $1, Z7, Y5
	VPXORQ        Y5, Y7, Y7
	VEXTRACTI128  $1, Y7, X5
	VPXOR         X5, X7, X7
	VMOVQ         X7, R8
	VPEXTRQ       $1, X7, R9
	VZEROUPPER

	// What is left is a message of 16 bytes, and what follows it.
	XORL   AX, AX
	CRC32Q R8, AX
	CRC32Q R9, AX

words:
	CMPQ   CX, $8
	JB     bytes
	CRC32Q (SI), AX
	ADDQ   $8, SI
	SUBQ   $8, CX
	JMP    words

bytes:
	TESTQ  CX, CX
	JZ     done
	CRC32B (SI), AX
	INCQ   SI
	DECQ   CX
	JMP    bytes

done:
	MOVL AX, ret+32(FP)
	RET
