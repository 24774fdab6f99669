// Product of a few rows with a large packed matrix: out[m][n] = sum_k x[m][k] w[n][k].
//
// A warp takes R groups of 16 matrix rows and one slice of the columns; the slices of a
// block are added up in their order. The matrix lies in memory as the tensor cores want
// it (weights.py), so a warp streams it straight into registers. What one row of x gives
// is the same sum in the same order whatever M is.
//
// Defined when compiled: FORMAT (0 bf16, 1 int8, 2 fp8, 3 int4), NT (tiles of 8 rows of
// x), R, SLICES, GATED, BLOCKS (that are to share a multiprocessor), and either DEPTH, the column blocks that a thread has under way
// in registers, or STAGES, those that a warp has under way in shared memory, together
// with their part of x. The second suits many rows: there x is the larger traffic, and
// more matrix rows share what a warp reads of it.

#include "formats.cuh"
#include "launch.cuh"

#define WARPS 8
#define SETS (WARPS / SLICES)
#define ROWS (16 * R)
#define PITCH (ROWS + 8)
#define COLUMNS (8 * NT)
#define STAGE_BYTES (R * VECTORS * 512 + COLUMNS * 128)

__device__ __forceinline__ void mma(float* c, const u32* a, u32 b0, u32 b1) {
  asm(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
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

extern "C" __global__ void __launch_bounds__(32 * WARPS, BLOCKS)
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
  after_the_one_before();
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
#define X_DEPTH 2  // DEPTH is a multiple of it
#if FORMAT == 3
  u32 scale_ahead[X_DEPTH][R];
  auto fetch_scale = [&](int at, int block) {
#pragma unroll
    for (int r = 0; r < R; r++) {
      const int group = min(group0 + r, groups - 1);
      scale_ahead[at][r] =
          ((const u32*)scales)[((long long)group * blocks + first + block) * 8 + g];
    }
  };
#pragma unroll
  for (int i = 0; i < X_DEPTH; i++)
    if (i < per_slice) fetch_scale(i, i);
#endif
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
  after_the_one_before();

  // x lies in L2, but even that takes as long as a block of the matrix.
  uint4 x_ahead[X_DEPTH][NT][2];
  auto fetch_x = [&](int at, int block) {
    const u16* from = x + (long long)(m0 + g) * K + (first + block) * 64 + 16 * t;
#pragma unroll
    for (int n = 0; n < NT; n++) {
      const uint4 none = {};
      const uint4* row = (const uint4*)(from + (long long)8 * n * K);
      const bool there = m0 + 8 * n + g < M && block < per_slice;
      x_ahead[at][n][0] = there ? row[0] : none;
      x_ahead[at][n][1] = there ? row[1] : none;
    }
  };
#pragma unroll
  for (int i = 0; i < X_DEPTH; i++) fetch_x(i, i);

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
        scale[r][0] = from_half(scale_ahead[i % X_DEPTH][r] & 0xFFFF);
        scale[r][1] = from_half(scale_ahead[i % X_DEPTH][r] >> 16);
      }
      if (block + X_DEPTH < per_slice) fetch_scale(i % X_DEPTH, block + X_DEPTH);
#endif
      uint4 b[NT][2];
#pragma unroll
      for (int n = 0; n < NT; n++)
        b[n][0] = x_ahead[i % X_DEPTH][n][0], b[n][1] = x_ahead[i % X_DEPTH][n][1];
      fetch_x(i % X_DEPTH, block + X_DEPTH);
#pragma unroll
      for (int n = 0; n < NT; n++) {
        const u32 bs[8] = {b[n][0].x, b[n][0].y, b[n][0].z, b[n][0].w,
                           b[n][1].x, b[n][1].y, b[n][1].z, b[n][1].w};
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
