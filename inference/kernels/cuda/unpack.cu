// Rows of a packed matrix to bf16, for products with so many rows that a library's are as
// fast.
//
// A warp takes 16 rows of 64 columns. Defined when compiled: FORMAT.

#include "formats.cuh"
#include "launch.cuh"

#define WARPS 8

extern "C" __global__ void __launch_bounds__(32 * WARPS)
unpack(const uint4* __restrict__ w, const void* __restrict__ scales, u16* out, int first,
       int N, int K) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int g = lane / 4, t = lane % 4;
  const int blocks = K / 64, block = blockIdx.x * WARPS + warp, group = first + blockIdx.y;
  const long long at = (long long)group * blocks + block;
  after_the_one_before();
  if (block >= blocks) return;
  uint4 v[VECTORS];
#pragma unroll
  for (int i = 0; i < VECTORS; i++) v[i] = w[(at * VECTORS + i) * 32 + lane];
  u32 rows[2][8];
#pragma unroll
  for (int j = 0; j < 4; j++) {
    u32 a[4];
    fragment(v, j, a);
    rows[0][2 * j] = a[0], rows[1][2 * j] = a[1];
    rows[0][2 * j + 1] = a[2], rows[1][2 * j + 1] = a[3];
  }
#if FORMAT > 0
#if FORMAT == 3
  const u32 both = ((const u32*)scales)[at * 8 + g];
  const float scale[2] = {from_half(both & 0xFFFF), from_half(both >> 16)};
#else
  const int row = group * 16 + g;
  const float scale[2] = {((const float*)scales)[min(row, N - 1)],
                          ((const float*)scales)[min(row + 8, N - 1)]};
#endif
#pragma unroll
  for (int r = 0; r < 2; r++)
#pragma unroll
    for (int i = 0; i < 8; i++) {
      const u32 low = to_bf16(from_bf16(rows[r][i] & 0xFFFF) * scale[r]);
      const u32 high = to_bf16(from_bf16(rows[r][i] >> 16) * scale[r]);
      rows[r][i] = low | (high << 16);
    }
#endif
#pragma unroll
  for (int r = 0; r < 2; r++) {
    const int n = group * 16 + g + 8 * r;
    if (n >= N) continue;
    uint4* to = (uint4*)(out + (long long)(n - 16 * first) * K + block * 64 + 16 * t);
    to[0] = make_uint4(rows[r][0], rows[r][1], rows[r][2], rows[r][3]);
    to[1] = make_uint4(rows[r][4], rows[r][5], rows[r][6], rows[r][7]);
  }
}
