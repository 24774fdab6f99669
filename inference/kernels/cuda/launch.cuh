// Launched while the kernel before still runs (sm_90 and later): from here on its results
// are there.
__device__ __forceinline__ void after_the_one_before() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
