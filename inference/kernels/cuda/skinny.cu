// Product of a few rows with a large packed matrix: out[m][n] = sum_k x[m][k] w[n][k].
//
// A warp takes R groups of 16 matrix rows and one slice of the columns; the slices of a
// block are added up in their order. The matrix lies in memory as the tensor cores want
// it (weights.py), so a warp streams it straight into registers. What one row of x gives
// is the same sum in the same order whatever M is.
//
// Defined when compiled: FORMAT (0 bf16, 1 int8, 2 fp8, 3 int4), NT (tiles of 8 rows of
// x), R, SLICES, GATED, DEPTH (column blocks in flight).

typedef unsigned int u32;
typedef unsigned short u16;

#define WARPS 8
#define SETS (WARPS / SLICES)
#define VECTORS (FORMAT == 0 ? 4 : FORMAT == 3 ? 1 : 2)
#define ROWS (16 * R)
#define PITCH (ROWS + 8)
#define COLUMNS (8 * NT)

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

__device__ __forceinline__ void mma(float* c, const u32* a, u32 b0, u32 b1) {
  asm(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// A block of 64 columns of 16 rows: the left operands of its 4 steps.
__device__ __forceinline__ void unpack(const uint4* v, u32 a[4][4]) {
#if FORMAT == 0
#pragma unroll
  for (int j = 0; j < 4; j++) {
    a[j][0] = v[j].x, a[j][1] = v[j].y, a[j][2] = v[j].z, a[j][3] = v[j].w;
  }
#elif FORMAT == 3
  u32 top[2] = {v[0].x, v[0].y}, bottom[2] = {v[0].z, v[0].w};
#pragma unroll
  for (int j = 0; j < 4; j++) {
    u32 t = top[j / 2] >> (8 * (j % 2)), b = bottom[j / 2] >> (8 * (j % 2));
    a[j][0] = pair4(t), a[j][1] = pair4(b);
    a[j][2] = pair4(t >> 4), a[j][3] = pair4(b >> 4);
  }
#else
  u32 top[4] = {v[0].x, v[0].y, v[0].z, v[0].w};
  u32 bottom[4] = {v[1].x, v[1].y, v[1].z, v[1].w};
#pragma unroll
  for (int j = 0; j < 4; j++) {
    a[j][0] = pair8(top[j]), a[j][1] = pair8(bottom[j]);
    a[j][2] = pair8(top[j] >> 8), a[j][3] = pair8(bottom[j] >> 8);
  }
#endif
}

extern "C" __global__ void __launch_bounds__(32 * WARPS)
skinny(const uint4* __restrict__ w, const void* __restrict__ scales, const u16* x,
       u16* out, int M, int N, int K) {
  extern __shared__ float sums[];  // [WARPS][COLUMNS][PITCH]
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int g = lane / 4, t = lane % 4;
  const int groups = (N + 15) / 16, blocks = K / 64;
  const int slice = warp % SLICES, set = warp / SLICES;
  const int group0 = (blockIdx.x * SETS + set) * R;
  const int per_slice = blocks / SLICES, first = slice * per_slice;
  const int m0 = blockIdx.y * COLUMNS;

  uint4 ahead[DEPTH][R][VECTORS];
  auto fetch = [&](int at, int block) {
#pragma unroll
    for (int r = 0; r < R; r++) {
      const int group = min(group0 + r, groups - 1);
      const uint4* from =
          w + ((long long)group * blocks + first + block) * (VECTORS * 32) + lane;
#pragma unroll
      for (int v = 0; v < VECTORS; v++)
        asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
                     : "=r"(ahead[at][r][v].x), "=r"(ahead[at][r][v].y),
                       "=r"(ahead[at][r][v].z), "=r"(ahead[at][r][v].w)
                     : "l"(from + 32 * v));
    }
  };
  // Weights are nobody's result: fetch them while the kernel before still runs.
#pragma unroll
  for (int i = 0; i < DEPTH; i++)
    if (i < per_slice) fetch(i, i);
  asm volatile("griddepcontrol.launch_dependents;");
  asm volatile("griddepcontrol.wait;" ::: "memory");

  float acc[R][NT][4] = {};
  for (int start = 0; start < per_slice; start += DEPTH) {
#pragma unroll
    for (int i = 0; i < DEPTH; i++) {
      const int block = start + i;
      if (block >= per_slice) break;
      u32 a[R][4][4];
#pragma unroll
      for (int r = 0; r < R; r++) unpack(ahead[i][r], a[r]);
      if (block + DEPTH < per_slice) fetch(i, block + DEPTH);
#if FORMAT == 3
      float scale[R][2];
#pragma unroll
      for (int r = 0; r < R; r++) {
        const int group = min(group0 + r, groups - 1);
        const u32 both = ((const u32*)scales)[
            ((long long)group * blocks + first + block) * 8 + g];
        scale[r][0] = from_half(both & 0xFFFF), scale[r][1] = from_half(both >> 16);
      }
#endif
      const u16* from = x + (long long)(m0 + g) * K + (first + block) * 64 + 16 * t;
#pragma unroll
      for (int n = 0; n < NT; n++) {
        uint4 b[2] = {};
        if (m0 + 8 * n + g < M) {
          const uint4* at = (const uint4*)(from + (long long)8 * n * K);
          b[0] = at[0], b[1] = at[1];
        }
        const u32 bs[8] = {b[0].x, b[0].y, b[0].z, b[0].w,
                           b[1].x, b[1].y, b[1].z, b[1].w};
#pragma unroll
        for (int r = 0; r < R; r++) {
#if FORMAT == 3
          float c[4] = {};
#else
          float* c = acc[r][n];
#endif
#pragma unroll
          for (int j = 0; j < 4; j++) mma(c, a[r][j], bs[2 * j], bs[2 * j + 1]);
#if FORMAT == 3
#pragma unroll
          for (int e = 0; e < 4; e++)
            acc[r][n][e] = fmaf(scale[r][e / 2], c[e], acc[r][n][e]);
#endif
        }
      }
    }
  }

  float* mine = sums + warp * (COLUMNS * PITCH);
#pragma unroll
  for (int r = 0; r < R; r++)
#pragma unroll
    for (int n = 0; n < NT; n++)
#pragma unroll
      for (int e = 0; e < 4; e++)
        mine[(8 * n + 2 * t + e % 2) * PITCH + 16 * r + g + 8 * (e / 2)] =
            acc[r][n][e];
  __syncthreads();

  auto total = [&](int of, int column, int row) {
    const float* from = sums + (of * SLICES) * (COLUMNS * PITCH) + column * PITCH + row;
    float sum = from[0];
#pragma unroll
    for (int s = 1; s < SLICES; s++) sum += from[s * (COLUMNS * PITCH)];
#if FORMAT == 1 || FORMAT == 2
    const int n = ((blockIdx.x * SETS + of) * R) * 16 + row;
    sum *= ((const float*)scales)[min(n, N - 1)];
#endif
    return sum;
  };
  const int most = min(COLUMNS, M - m0);
#if GATED
  // Rows come as 8 of the gate, then the 8 of the other half that belong to them.
  const int halves = SETS * ROWS / 2;
  for (int i = threadIdx.x; i < halves * most; i += 32 * WARPS) {
    const int h = i % halves, column = i / halves, of = h / (ROWS / 2);
    const int row = h % (ROWS / 2) / 8 * 16 + h % 8;
    const int n = (blockIdx.x * SETS * ROWS) / 2 + h;
    const float gate = from_bf16(to_bf16(total(of, column, row)));
    const float up = from_bf16(to_bf16(total(of, column, row + 8)));
    const float silu = from_bf16(to_bf16(gate / (1.0f + __expf(-gate))));
    if (n < N / 2) out[(long long)(m0 + column) * (N / 2) + n] = to_bf16(silu * up);
  }
#else
  const int rows = SETS * ROWS;
  for (int i = threadIdx.x; i < rows * most; i += 32 * WARPS) {
    const int h = i % rows, column = i / rows, n = blockIdx.x * rows + h;
    if (n < N)
      out[(long long)(m0 + column) * N + n] = to_bf16(total(h / ROWS, column, h % ROWS));
  }
#endif
}
