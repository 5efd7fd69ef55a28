"""The machine: the fast BLAS on Linux, the choice of a device, memory figures, caches of kernels and libraries."""
