"""Load the fast BLAS before any test imports MLX."""

from stepbus import backend as backend
