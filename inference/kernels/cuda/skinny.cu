// Product of a few rows with a large packed matrix: out[m][n] = sum_k x[m][k] w[n][k].
//
// A warp takes R groups of 16 matrix rows and one slice of the columns; the slices of a
// block are added up in their order. The matrix lies in memory as the tensor cores want
// it (weights.py), so a warp streams it straight into registers. What one row of x gives
// is the same sum in the same order whatever M is.
//
// Defined when compiled: FORMAT (0 bf16, 1 int8, 2 fp8, 3 int4), NT (tiles of 8 rows of
// x), R, SLICES, GATED, and either DEPTH, the column blocks that a thread has under way
// in registers, or STAGES, those that a warp has under way in shared memory, together
// with their part of x. The second suits many rows: there x is the larger traffic, and
// more matrix rows share what a warp reads of it.

typedef unsigned int u32;
typedef unsigned short u16;

#define WARPS 8
#define SETS (WARPS / SLICES)
#define VECTORS (FORMAT == 0 ? 4 : FORMAT == 3 ? 1 : 2)
#define ROWS (16 * R)
#define PITCH (ROWS + 8)
#define COLUMNS (8 * NT)
#define STAGE_BYTES (R * VECTORS * 512 + COLUMNS * 128)

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

__device__ __forceinline__ void copy16(u32 to, const void* from, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               ::"r"(to), "l"(from), "r"(bytes) : "memory");
}

__device__ __forceinline__ uint4 read16(u32 from) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(from));
  return v;
}

extern "C" __global__ void __launch_bounds__(32 * WARPS)
skinny(const uint4* __restrict__ w, const void* __restrict__ scales, const u16* x,
       u16* out, int M, int N, int K) {
  extern __shared__ float sums[];  // [WARPS][COLUMNS][PITCH]
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int g = lane / 4, t = lane % 4;
  const int groups = (N + 15) / 16, blocks = K / 64;
  const int slice = warp % SLICES, set = warp / SLICES;
  const int group0 = (blockIdx.y * SETS + set) * R;
  const int per_slice = blocks / SLICES, first = slice * per_slice;
  const int m0 = blockIdx.x * COLUMNS;

  float acc[R][NT][4] = {};
#if STAGES
  // Of each stage first the matrix, then x: COLUMNS rows of 128 bytes, whose 16-byte
  // parts change places in every other row, so that 8 lanes find them in 8 places.
  const u32 stage0 = (u32)__cvta_generic_to_shared(sums) + warp * (STAGES * STAGE_BYTES);
  auto fetch = [&](int block) {
    const u32 to = stage0 + block % STAGES * STAGE_BYTES + 16 * lane;
#pragma unroll
    for (int r = 0; r < R; r++) {
      const int group = min(group0 + r, groups - 1);
      const uint4* from =
          w + ((long long)group * blocks + first + block) * (VECTORS * 32) + lane;
#pragma unroll
      for (int v = 0; v < VECTORS; v++)
        copy16(to + (r * VECTORS + v) * 512, from + 32 * v, 16);
    }
  };
  auto fetch_x = [&](int block) {
    const u32 to = stage0 + block % STAGES * STAGE_BYTES + R * VECTORS * 512;
#pragma unroll
    for (int i = lane; i < COLUMNS * 8; i += 32) {
      const int column = i / 8, part = i % 8, m = m0 + column;
      const u16* from =
          x + (long long)min(m, M - 1) * K + (first + block) * 64 + 8 * part;
      copy16(to + column * 128 + (part ^ (column & 1)) * 16, from, m < M ? 16 : 0);
    }
  };
  for (int i = 0; i < STAGES - 1 && i < per_slice; i++) fetch(i);
  asm volatile("griddepcontrol.launch_dependents;");
  asm volatile("griddepcontrol.wait;" ::: "memory");
  for (int i = 0; i < STAGES - 1; i++) {
    if (i < per_slice) fetch_x(i);
    asm volatile("cp.async.commit_group;" ::: "memory");
  }
#if FORMAT == 3
  u32 scale_ahead[R];
  auto fetch_scale = [&](int block) {
#pragma unroll
    for (int r = 0; r < R; r++) {
      const int group = min(group0 + r, groups - 1);
      scale_ahead[r] =
          ((const u32*)scales)[((long long)group * blocks + first + block) * 8 + g];
    }
  };
  fetch_scale(0);
#endif
  for (int block = 0; block < per_slice; block++) {
    const int next = block + STAGES - 1;
    if (next < per_slice) fetch(next), fetch_x(next);
    asm volatile("cp.async.commit_group;" ::: "memory");
    asm volatile("cp.async.wait_group %0;" ::"n"(STAGES - 1) : "memory");
    __syncwarp();
    const u32 matrix = stage0 + block % STAGES * STAGE_BYTES + 16 * lane;
    const u32 columns = stage0 + block % STAGES * STAGE_BYTES + R * VECTORS * 512 +
                        g * 128 + 16 * ((2 * t) ^ (g & 1));
    uint4 v[R][VECTORS];
#pragma unroll
    for (int r = 0; r < R; r++)
#pragma unroll
      for (int i = 0; i < VECTORS; i++)
        v[r][i] = read16(matrix + (r * VECTORS + i) * 512);
#if FORMAT == 3
    u32 a[R][4][4];
    float scale[R][2];
#pragma unroll
    for (int r = 0; r < R; r++) {
#pragma unroll
      for (int j = 0; j < 4; j++) fragment(v[r], j, a[r][j]);
      scale[r][0] = from_half(scale_ahead[r] & 0xFFFF);
      scale[r][1] = from_half(scale_ahead[r] >> 16);
    }
    if (block + 1 < per_slice) fetch_scale(block + 1);
#pragma unroll
    for (int n = 0; n < NT; n++) {
      const uint4 b0 = read16(columns + n * 1024), b1 = read16((columns ^ 16) + n * 1024);
#pragma unroll
      for (int r = 0; r < R; r++) {
        float c[4] = {};
        mma(c, a[r][0], b0.x, b0.y);
        mma(c, a[r][1], b0.z, b0.w);
        mma(c, a[r][2], b1.x, b1.y);
        mma(c, a[r][3], b1.z, b1.w);
#pragma unroll
        for (int e = 0; e < 4; e++)
          acc[r][n][e] = fmaf(scale[r][e / 2], c[e], acc[r][n][e]);
      }
    }
#else
#pragma unroll
    for (int half = 0; half < 2; half++) {
      u32 a[R][2][4];
#pragma unroll
      for (int r = 0; r < R; r++) {
        fragment(v[r], 2 * half, a[r][0]);
        fragment(v[r], 2 * half + 1, a[r][1]);
      }
#pragma unroll
      for (int n = 0; n < NT; n++) {
        const uint4 b = read16((half ? columns ^ 16 : columns) + n * 1024);
#pragma unroll
        for (int r = 0; r < R; r++) {
          mma(acc[r][n], a[r][0], b.x, b.y);
          mma(acc[r][n], a[r][1], b.z, b.w);
        }
      }
    }
#endif
    __syncwarp();
  }
  __syncthreads();
#else
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

  for (int start = 0; start < per_slice; start += DEPTH) {
#pragma unroll
    for (int i = 0; i < DEPTH; i++) {
      const int block = start + i;
      if (block >= per_slice) break;
      u32 a[R][4][4];
#pragma unroll
      for (int r = 0; r < R; r++)
#pragma unroll
        for (int j = 0; j < 4; j++) fragment(ahead[i][r], j, a[r][j]);
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
#endif

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
    const int n = ((blockIdx.y * SETS + of) * R) * 16 + row;
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
    const int n = (blockIdx.y * SETS * ROWS) / 2 + h;
    const float gate = from_bf16(to_bf16(total(of, column, row)));
    const float up = from_bf16(to_bf16(total(of, column, row + 8)));
    const float silu = from_bf16(to_bf16(gate / (1.0f + __expf(-gate))));
    if (n < N / 2) out[(long long)(m0 + column) * (N / 2) + n] = to_bf16(silu * up);
  }
#else
  const int rows = SETS * ROWS;
  for (int i = threadIdx.x; i < rows * most; i += 32 * WARPS) {
    const int h = i % rows, column = i / rows, n = blockIdx.y * rows + h;
    if (n < N)
      out[(long long)(m0 + column) * N + n] = to_bf16(total(h / ROWS, column, h % ROWS));
  }
#endif
}
