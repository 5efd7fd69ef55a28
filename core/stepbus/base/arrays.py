"""Names for the types of NumPy arrays."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

IntArray: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.integer[Any]]]
LabelArray: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[Any]]
