// Attention of a frame's two new positions over the ring of one head of one stream; see
// codec_attention.py. A block holds the whole ring in registers: of keys and values, a
// group of D / 4 lanes reads a slot as float4.
//
// Defined when compiled: D, a power of two from 8 on.

#include "launch.cuh"

#define SLOTS 256  // threads of a block, and the most that a ring may have
#define LANES (D / 4)
#define GROUPS (SLOTS / LANES)

__device__ __forceinline__ float dot4(float4 a, float4 b) {
  return fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, a.x * b.x)));
}

__device__ __forceinline__ void add4(float4& a, float by, float4 b) {
  a.x = fmaf(by, b.x, a.x), a.y = fmaf(by, b.y, a.y);
  a.z = fmaf(by, b.z, a.z), a.w = fmaf(by, b.w, a.w);
}

// Of LANES values in each of as many lanes, lane i gets the sum of all i-th ones.
__device__ __forceinline__ float scattered_sum(float* v, int lane) {
#pragma unroll
  for (int half = LANES / 2; half > 0; half /= 2)
#pragma unroll
    for (int i = 0; i < half; i++) {
      const bool upper = lane & half;
      const float sent = upper ? v[i] : v[i + half];
      const float kept = upper ? v[i + half] : v[i];
      v[i] = kept + __shfl_xor_sync(~0u, sent, half);
    }
  return v[0];
}

// Over all threads of the block; ``shared`` [8] is free again after the next barrier.
template <bool MAX>
__device__ __forceinline__ float over_all(float v, float* shared) {
#pragma unroll
  for (int s = 16; s > 0; s /= 2) {
    const float other = __shfl_xor_sync(~0u, v, s);
    v = MAX ? fmaxf(v, other) : v + other;
  }
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = v;
  __syncthreads();
  v = shared[0];
#pragma unroll
  for (int i = 1; i < SLOTS / 32; i++) v = MAX ? fmaxf(v, shared[i]) : v + shared[i];
  return v;
}

extern "C" __global__ void __launch_bounds__(SLOTS)
attend(const float* qkv, float* keys, float* values, const long long* position,
       const bool* active, const float* __restrict__ frequencies, float* out, int H,
       int context, int row_stride, float softmax_scale) {
  __shared__ __align__(16) float turned[4][D];  // both queries, both keys
  __shared__ float own[3], weights[2][SLOTS], shared[4][SLOTS / 32];
  __shared__ __align__(16) float sums[GROUPS][2][D];
  const int head = blockIdx.x, row = blockIdx.y, thread = threadIdx.x;
  const int lane = thread % LANES, group = thread / LANES;
  after_the_one_before();
  if (!active[row]) return;
  const long long p = position[row];
  const int last = (int)(p - 1), stop = min(last + 1, context);
  keys += (long long)row * row_stride + head * context * D;
  values += (long long)row * row_stride + head * context * D;

  float4 k[LANES], v[LANES];
#pragma unroll
  for (int i = 0; i < LANES; i++) {
    const int slot = group + GROUPS * i;
    const float4 none = {};
    k[i] = slot < stop ? ((const float4*)(keys + slot * D))[lane] : none;
  }
#pragma unroll
  for (int i = 0; i < LANES; i++) {
    const int slot = group + GROUPS * i;
    const float4 none = {};
    v[i] = slot < stop ? ((const float4*)(values + slot * D))[lane] : none;
  }
  // [position][query, key, value][head][D]
  const float* here = qkv + (long long)row * 6 * H * D + head * D;
  for (int i = thread; i < 2 * D; i += SLOTS) {
    const int which = i / (D / 2), pair = i % (D / 2), next = which % 2;
    const float* from = here + (next * 3 + which / 2) * H * D + 2 * pair;
    float sin, cos;
    sincosf((float)(p + next) * frequencies[pair], &sin, &cos);
    const float scale = which < 2 ? softmax_scale : 1.0f;
    turned[which][2 * pair] = (from[0] * cos - from[1] * sin) * scale;
    turned[which][2 * pair + 1] = (from[0] * sin + from[1] * cos) * scale;
  }
  __syncthreads();
  // The first new key is seen by both queries, the second by the second alone.
  if (thread / 32 < 3) {
    const int which = thread / 32, query = which > 0, key = 2 + which / 2;
    float sum = 0;
    for (int d = thread % 32; d < D; d += 32)
      sum = fmaf(turned[query][d], turned[key][d], sum);
#pragma unroll
    for (int s = 16; s > 0; s /= 2) sum += __shfl_xor_sync(~0u, sum, s);
    if (thread % 32 == 0) own[which] = sum;
  }
  const float4 q0 = ((const float4*)turned[0])[lane], q1 = ((const float4*)turned[1])[lane];
  float partial[LANES], score[2];
#pragma unroll
  for (int i = 0; i < LANES; i++) partial[i] = dot4(k[i], q0);
  score[0] = scattered_sum(partial, lane);
#pragma unroll
  for (int i = 0; i < LANES; i++) partial[i] = dot4(k[i], q1);
  score[1] = scattered_sum(partial, lane);
  const int slot = group + GROUPS * lane;
  const int held = last - (last + context - slot) % context;
  const bool seen = slot < stop && held >= max(last + 4 - context, 0);
  __syncthreads();  // own
  float total[2], best[2];
#pragma unroll
  for (int i = 0; i < 2; i++) {
    const float alone = i == 0 ? own[0] : fmaxf(own[1], own[2]);
    best[i] = over_all<true>(fmaxf(seen ? score[i] : alone, alone), shared[i]);
    const float weight = seen ? expf(score[i] - best[i]) : 0.0f;
    weights[i][slot] = weight;
    total[i] = over_all<false>(weight, shared[2 + i]);
  }
  float4 acc[2] = {};
#pragma unroll
  for (int i = 0; i < LANES; i++)
#pragma unroll
    for (int j = 0; j < 2; j++) add4(acc[j], weights[j][group + GROUPS * i], v[i]);
  ((float4*)sums[group][0])[lane] = acc[0];
  ((float4*)sums[group][1])[lane] = acc[1];
  __syncthreads();
  // Every key and value was read; what is written now was out of view.
  for (int i = thread; i < 2 * D; i += SLOTS) {
    const int j = i / D, d = i % D;
    float sum = 0;
    for (int n = 0; n < GROUPS; n++) sum += sums[n][j][d];
    const float* from = here + 2 * H * D + d;
    const float value[2] = {from[0], from[3 * H * D]};
    const float w0 = expf(own[j] - best[j]), w1 = j ? expf(own[2] - best[1]) : 0.0f;
    sum = fmaf(w1, value[1], fmaf(w0, value[0], sum));
    out[((long long)row * 2 + j) * H * D + head * D + d] = sum / (total[j] + w0 + w1);
    const int to = (int)((p + j) % context) * D + d;
    keys[to] = turned[2 + j][d];
    values[to] = value[j];
  }
}
