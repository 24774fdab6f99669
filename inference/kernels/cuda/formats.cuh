// The packed formats of weights.py: what a lane of a warp holds, and what it stands for.
//
// Defined when compiled: FORMAT (0 bf16, 1 int8, 2 fp8, 3 int4).

typedef unsigned int u32;
typedef unsigned short u16;

// 16-byte loads of a lane for a block of 64 columns of 16 rows.
#define VECTORS (FORMAT == 0 ? 4 : FORMAT == 3 ? 1 : 2)

__device__ __forceinline__ u32 fma2(u32 a, u32 b, u32 c) {
  u32 d;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}

__device__ __forceinline__ u16 to_bf16(float x) {
  u16 d;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(d) : "f"(x));
  return d;
}

__device__ __forceinline__ float from_bf16(u16 x) {
  return __uint_as_float((u32)x << 16);
}

__device__ __forceinline__ float from_half(u16 x) {
  float d;
  asm("cvt.f32.f16 %0, %1;" : "=f"(d) : "h"(x));
  return d;
}

// Two bytes at bits 0 and 16 to a pair of bf16, exactly.
__device__ __forceinline__ u32 pair8(u32 w) {
#if FORMAT == 1
  u32 low = (w & 0x007F007Fu) | 0x43004300u;   // 128 + the low 7 bits
  u32 high = (w & 0x00800080u) | 0x43004300u;  // 128, or 256 if negative
  return fma2(high, 0xBF80BF80u, low);
#else
  u32 bits = ((w << 8) & 0x80008000u) | ((w << 4) & 0x07F007F0u);
  return fma2(bits, 0x7B807B80u, 0x80008000u);  // times 2^120
#endif
}

__device__ __forceinline__ u32 pair4(u32 w) {
  return fma2((w & 0x000F000Fu) | 0x43004300u, 0x3F803F80u, 0xC308C308u);
}

// Of a block of 64 columns of 16 rows, the left operand of step j.
__device__ __forceinline__ void fragment(const uint4* v, int j, u32* a) {
#if FORMAT == 0
  a[0] = v[j].x, a[1] = v[j].y, a[2] = v[j].z, a[3] = v[j].w;
#elif FORMAT == 3
  const u32 t = (j < 2 ? v[0].x : v[0].y) >> (8 * (j % 2));
  const u32 b = (j < 2 ? v[0].z : v[0].w) >> (8 * (j % 2));
  a[0] = pair4(t), a[1] = pair4(b), a[2] = pair4(t >> 4), a[3] = pair4(b >> 4);
#else
  const u32 t = j == 0 ? v[0].x : j == 1 ? v[0].y : j == 2 ? v[0].z : v[0].w;
  const u32 b = j == 0 ? v[1].x : j == 1 ? v[1].y : j == 2 ? v[1].z : v[1].w;
  a[0] = pair8(t), a[1] = pair8(b), a[2] = pair8(t >> 8), a[3] = pair8(b >> 8);
#endif
}
