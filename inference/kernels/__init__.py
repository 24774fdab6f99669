"""The fast path on CUDA: small-batch kernels, each with a plain PyTorch path.

``plain`` and ``fast`` hold functions of the same names and meaning; the code that runs
a step is given one of the two. Only ``fast`` and what it imports needs Triton.
"""
