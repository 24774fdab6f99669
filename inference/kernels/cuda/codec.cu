// A product of the codec: out[m][n] = sum_k window(m)[k] w[n][k] in fp32, where row m is
// output t of stream b and its window lies in a frame of vectors, time first, that goes on
// from what the stream's state keeps of the frame before. See codec_products.py.
//
// A warp takes R groups of 16 outputs and NT tiles of 8 rows. The columns are cut in PARTS,
// which are added up in their order: by as many warps, a slice each, or by one alone. Every product is three of tf32, which
// together are as good as fp32: the high parts, and each high part with the other's low.
// What one row gives is the same sum in the same order whatever M is.
//
// Defined when compiled: R, NT, PARTS, SLICES (PARTS or 1), WHOLE (whether channels come in
// whole units), STAGES, the units of 16 columns that a warp has under way, and BLOCKS, those
// that are to share a multiprocessor: each has so many registers the fewer.

#include "launch.cuh"

typedef unsigned int u32;

#define WARPS 8
#define SETS (WARPS / SLICES)
#define COLUMNS (8 * NT)
#define PITCH (16 * R + 8)
#define UNIT (512 * (2 * R + NT))  // bytes of a stage

enum { ELU_IN = 1, STATE = 2, REPLICATE = 4, NORM = 8, TRANSPOSED = 16 };
enum { SUM, ELU, GELU, ADD, SCALE };

__device__ __forceinline__ float elu(float x) { return x > 0 ? x : __expf(x) - 1; }

__device__ __forceinline__ u32 tf32(float x) {
  u32 d;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(d) : "f"(x));
  return d;
}

__device__ __forceinline__ void split(float x, u32& high, u32& low) {
  high = tf32(x);
  low = tf32(x - __uint_as_float(high));
}

__device__ __forceinline__ void mma(float* c, const u32* a, const u32* b) {
  asm(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

template <int BYTES>
__device__ __forceinline__ void copy(u32 to, const float* from, bool there) {
  const int bytes = there ? BYTES : 0;
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;"
               ::"r"(to), "l"(from), "n"(BYTES), "r"(bytes) : "memory");
}

__device__ __forceinline__ float4 read16(u32 from) {
  float4 v;
  asm volatile("ld.shared.v4.f32 {%0,%1,%2,%3}, [%4];"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "r"(from));
  return v;
}

// Four channels from c on of C, of which not all need be there.
__device__ __forceinline__ float4 load4(const float* from, int c, int C) {
  if (C % 4 == 0 && c < C) return *(const float4*)(from + c);
  float4 v = {};
  if (c < C) v.x = from[c];
  if (c + 1 < C) v.y = from[c + 1];
  if (c + 2 < C) v.z = from[c + 2];
  if (c + 3 < C) v.w = from[c + 3];
  return v;
}

extern "C" __global__ void __launch_bounds__(32 * WARPS, BLOCKS)
product(const float* x, const float* __restrict__ w, const float* __restrict__ bias,
        const float* other, const float* __restrict__ gain,
        const float* __restrict__ offset, const float* state, const long long* position,
        float* out, float* tail, int M, int N, int C, int taps, int ins, int outs,
        int stride, int times, int state_row, int flags, int kind) {
  extern __shared__ float sums[];  // [WARPS][COLUMNS][PITCH], in the place of the stages
  __shared__ float2 stats[SETS * COLUMNS];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int g = lane / 4, t = lane % 4;
  const int slice = warp % SLICES, set = warp / SLICES;
  const int n0 = blockIdx.x * 16 * R, m0 = (blockIdx.y * SETS + set) * COLUMNS;
  const int CP = WHOLE ? C : (C + 15) / 16 * 16, K = taps * CP, units = K / 16;
  const int per_part = (units + PARTS - 1) / PARTS, first = slice * per_part;
  const int count = max(min(PARTS / SLICES * per_part, units - first), 0);
  const int overlap = (flags & TRANSPOSED) ? 1 : taps - stride;

  // A lane stages for itself what it will read: of a unit, 4 columns of its rows.
  const u32 stages = (u32)__cvta_generic_to_shared(sums) + warp * (STAGES * UNIT) + 16 * lane;
  const float* matrix[R][2];
#pragma unroll
  for (int r = 0; r < R; r++)
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const int n = min(n0 + 16 * r + 8 * i + g, N - 1);
      matrix[r][i] = w + (long long)n * K + first * 16 + 4 * t;
    }
  auto fetch = [&](int unit) {
    const u32 to = stages + unit % STAGES * UNIT;
#pragma unroll
    for (int r = 0; r < R; r++)
#pragma unroll
      for (int i = 0; i < 2; i++)
        copy<16>(to + (2 * r + i) * 512, matrix[r][i] + 16 * unit, true);
  };
  // Weights are nobody's result: fetch them while the kernel before still runs.
  for (int i = 0; i < STAGES - 1 && i < count; i++) fetch(i);
  after_the_one_before();

  if (flags & NORM) {
    for (int i = warp; i < SETS * COLUMNS; i += WARPS) {
      const int m = blockIdx.y * SETS * COLUMNS + i;
      const float* row = x + (long long)min(m, M - 1) * C;
      float sum = 0, squares = 0;
      for (int c = lane; c < C; c += 32) sum += row[c];
#pragma unroll
      for (int s = 16; s > 0; s /= 2) sum += __shfl_xor_sync(~0u, sum, s);
      const float mean = sum / C;
      for (int c = lane; c < C; c += 32) {
        const float d = row[c] - mean;
        squares = fmaf(d, d, squares);
      }
#pragma unroll
      for (int s = 16; s > 0; s /= 2) squares += __shfl_xor_sync(~0u, squares, s);
      if (lane == 0) stats[i] = make_float2(mean, rsqrtf(squares / C + 1e-5f));
    }
    __syncthreads();
  }

  int frames[NT];  // where the row's stream begins in x
  int begins[NT];  // row of the frame where the window begins; before it lies the state
#pragma unroll
  for (int n = 0; n < NT; n++) {
    const int m = m0 + 8 * n + g;
    frames[n] = m / outs * ins * C;
    begins[n] = m < M ? m % outs * stride - overlap : ins;
  }
  int tap_ahead = first * 16 / CP, c_ahead = first * 16 % CP + 4 * t;
  auto fetch_x = [&](int unit) {
    const u32 at = stages + unit % STAGES * UNIT + 2 * R * 512;
    const int c = c_ahead;
#pragma unroll
    for (int n = 0; n < NT; n++) {
      const u32 to = at + n * 512;
      const int row = begins[n] + tap_ahead;
      if (row >= 0 && WHOLE) {
        const bool there = row < ins;
        copy<16>(to, there ? x + frames[n] + row * C + c : x, there);
        continue;
      }
      const float* from = x + frames[n] + row * C + c;
      int step = 1;
      bool there = row < ins;
      if (row < 0) {
        const int b = frames[n] / (ins * C);
        there = flags & STATE;
        if ((flags & REPLICATE) && position[b] == 0) {
          from = x + frames[n] + c;
        } else {
          from = state + (long long)b * state_row + c * overlap + row + overlap;
          step = overlap;
        }
      }
      for (int e = 0; e < 4; e++) {
        const bool here = there && (WHOLE || c + e < C);
        copy<4>(to + 4 * e, here ? from + e * step : x, here);
      }
    }
    c_ahead += 16;
    if (c_ahead >= CP) c_ahead -= CP, tap_ahead++;
  };
  for (int i = 0; i < STAGES - 1; i++) {
    if (i < count) fetch_x(i);
    asm volatile("cp.async.commit_group;" ::: "memory");
  }

  float acc[R][NT][4] = {};
#if SLICES < PARTS
  float total[R][NT][4] = {};
  int part_ends = per_part;
#endif
  int tap = first * 16 / CP, c = first * 16 % CP + 4 * t;
  for (int unit = 0; unit < count; unit++) {
    const int next = unit + STAGES - 1;
    if (next < count) fetch(next), fetch_x(next);
    asm volatile("cp.async.commit_group;" ::: "memory");
    asm volatile("cp.async.wait_group %0;" ::"n"(STAGES - 1) : "memory");
    const u32 at = stages + unit % STAGES * UNIT;
    float4 of_w[R][2], of_x[NT];
#pragma unroll
    for (int r = 0; r < R; r++)
      of_w[r][0] = read16(at + 2 * r * 512), of_w[r][1] = read16(at + (2 * r + 1) * 512);
#pragma unroll
    for (int n = 0; n < NT; n++) of_x[n] = read16(at + (2 * R + n) * 512);
    if (flags & ELU_IN) {
#pragma unroll
      for (int n = 0; n < NT; n++) {
        float4& v = of_x[n];
        // What the state keeps has been through the ELU.
        if (begins[n] + tap >= 0)
          v.x = elu(v.x), v.y = elu(v.y), v.z = elu(v.z), v.w = elu(v.w);
      }
    }
    if (flags & NORM) {
      const float4 by = load4(gain, c, C), plus = load4(offset, c, C);
#pragma unroll
      for (int n = 0; n < NT; n++) {
        float4& v = of_x[n];
        const float2 stat = stats[set * COLUMNS + 8 * n + g];
        v.x = (v.x - stat.x) * (stat.y * by.x) + plus.x;
        v.y = (v.y - stat.x) * (stat.y * by.y) + plus.y;
        v.z = (v.z - stat.x) * (stat.y * by.z) + plus.z;
        v.w = (v.w - stat.x) * (stat.y * by.w) + plus.w;
      }
    }
    c += 16;
    if (c >= CP) c -= CP, tap++;
#pragma unroll
    for (int s = 0; s < 2; s++) {
      u32 a[R][2][4];  // [high, low]
#pragma unroll
      for (int r = 0; r < R; r++) {
        const float4 up = of_w[r][0], down = of_w[r][1];
        split(s ? up.z : up.x, a[r][0][0], a[r][1][0]);
        split(s ? down.z : down.x, a[r][0][1], a[r][1][1]);
        split(s ? up.w : up.y, a[r][0][2], a[r][1][2]);
        split(s ? down.w : down.y, a[r][0][3], a[r][1][3]);
      }
#pragma unroll
      for (int n = 0; n < NT; n++) {
        u32 b[2][2];  // [high, low]
        split(s ? of_x[n].z : of_x[n].x, b[0][0], b[1][0]);
        split(s ? of_x[n].w : of_x[n].y, b[0][1], b[1][1]);
#pragma unroll
        for (int r = 0; r < R; r++) {
          mma(acc[r][n], a[r][1], b[0]);
          mma(acc[r][n], a[r][0], b[1]);
          mma(acc[r][n], a[r][0], b[0]);
        }
      }
    }
#if SLICES < PARTS
    if (unit + 1 == part_ends || unit + 1 == count) {
      part_ends += per_part;
#pragma unroll
      for (int r = 0; r < R; r++)
#pragma unroll
        for (int n = 0; n < NT; n++)
#pragma unroll
          for (int e = 0; e < 4; e++) total[r][n][e] += acc[r][n][e], acc[r][n][e] = 0;
    }
#endif
  }
  asm volatile("cp.async.wait_all;" ::: "memory");
  __syncthreads();

#if SLICES < PARTS
#define OUTPUT total
#else
#define OUTPUT acc
#endif
  float* mine = sums + warp * (COLUMNS * PITCH);
#pragma unroll
  for (int r = 0; r < R; r++)
#pragma unroll
    for (int n = 0; n < NT; n++)
#pragma unroll
      for (int e = 0; e < 4; e++)
        mine[(8 * n + 2 * t + e % 2) * PITCH + 16 * r + g + 8 * (e / 2)] =
            OUTPUT[r][n][e];
  __syncthreads();

  for (int i = threadIdx.x; i < SETS * COLUMNS * 16 * R; i += 32 * WARPS) {
    const int h = i % (16 * R), column = i / (16 * R);
    const int n = n0 + h, m = blockIdx.y * SETS * COLUMNS + column;
    if (n >= N || m >= M) continue;
    const int tile = column / COLUMNS * SLICES * COLUMNS + column % COLUMNS;
    const float* from = sums + tile * PITCH + h;
    float sum = from[0];
#pragma unroll
    for (int s = 1; s < SLICES; s++) sum += from[s * (COLUMNS * PITCH)];
    if (flags & TRANSPOSED) {
      // One row more than inputs: what the last of them leaves to the next frame.
      const int b = m / outs, at = m % outs, each = N / times, o = n % each;
      if (at == 0) sum += state[(long long)b * state_row + o * times + n / each];
      if (at == ins)
        tail[(long long)b * N + n] = sum;
      else
        out[((long long)b * ins + at) * N + n] = sum + bias[o];
      continue;
    }
    const long long at = (long long)m * N + n;
    if (bias != nullptr) sum += bias[n];
    if (kind == ELU) sum = elu(sum);
    if (kind == GELU) sum = 0.5f * sum * (1.0f + erff(sum * 0.70710678f));
    if (kind == ADD) sum += other[at];
    if (kind == SCALE) sum = fmaf(gain[n], sum, other[at]);
    out[at] = sum;
  }
}
