"""Time the CPU kernels of the BERT encoder beside MLX's own operations. Run by hand: python tests/benchmarks/kernels.py

Each line is the forward and backward pass of one layer's share at batch 32, MiniLM's sizes, compiled, on one stream.
CPU time, the least of several runs, so that other work on the machine matters little.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from stepbus.device import backend

# isort: split
import mlx.core as mx

from stepbus_plugins.bert.kernels import FAST
from stepbus_plugins.bert.plain import PLAIN, Kernels

Case = tuple[list[mx.array], Callable[..., mx.array]]


def milliseconds(function: Callable[..., mx.array], arrays: list[mx.array], runs: int = 7) -> float:
    """Return the CPU time of the value and all gradients of a function."""
    arguments = list(range(len(arrays)))
    compiled = mx.compile(
        mx.value_and_grad(lambda *a: function(*a).sum(), argnums=arguments),
        inputs=mx.random.state,
        outputs=mx.random.state,
    )
    best = float("inf")
    for _ in range(runs + 1):
        before = time.process_time()
        mx.eval(compiled(*arrays))
        best = min(best, time.process_time() - before)
    return 1e3 * best


def cases(ops: Kernels, length: int, dropout: float) -> dict[str, Case]:
    rows, heads, size, width = 32, 12, 384, 1536
    hidden = [mx.random.normal((rows, length, size)) for _ in range(2)]
    vectors = [mx.random.normal((size,)) for _ in range(2)]
    split = [mx.random.normal((rows, heads, length, size // heads)) for _ in range(3)]
    bias = mx.zeros((rows, 1, 1, length))

    def key() -> mx.array:
        return ops.keys(1)[0]

    return {
        "gelu": ([mx.random.normal((rows, length, width))], ops.gelu),
        "add_norm": ([*hidden, *vectors], lambda *a: ops.add_norm(*a, 1e-12, dropout, key())),
        "attention": (split, lambda *a: ops.attention(*a, bias, dropout, key())),
    }


def main() -> None:
    if mx.default_device().type != mx.DeviceType.cpu:
        sys.exit("these kernels are for the CPU")
    backend.row_streams()  # one BLAS thread, as in the encoder
    print(f"{backend.blas.name}, {backend.cores()} cores\n")
    print(f"{'kernel':12}{'length':>8}{'dropout':>9}{'MLX ms':>9}{'ours ms':>9}")
    for length in (32, 64, 128):
        for dropout in (0.0, 0.1):
            plain, fast = cases(PLAIN, length, dropout), cases(FAST, length, dropout)
            for name in plain if dropout == 0 else [name for name in plain if name != "gelu"]:
                times = [milliseconds(case[1], case[0]) for case in (plain[name], fast[name])]
                print(f"{name:12}{length:8}{dropout:9}{times[0]:9.1f}{times[1]:9.1f}")


if __name__ == "__main__":
    main()
