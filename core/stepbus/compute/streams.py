"""On which stream each parameter is updated."""

from __future__ import annotations

from collections.abc import Mapping

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx


def shared_out(flat: Mapping[str, mx.array]) -> dict[str, mx.Stream]:
    """Return a stream for each parameter where that is faster: on CPU, whose streams compute on one thread each.

    Two streams take a fifth off an update of 22.6 M parameters on two cores; more were not measured.
    """
    streams = backend.cpu_streams()
    if not streams:
        return {}
    load, shared = [0] * len(streams), {}
    for name, array in sorted(flat.items(), key=lambda item: -item[1].size):
        lighter = load.index(min(load))
        load[lighter] += array.size
        shared[name] = streams[lighter]
    return shared
