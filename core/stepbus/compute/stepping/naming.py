"""Who gives which named number of a loss, where wrappers call each other: two that give one name are both named."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx

from stepbus.base.guards import Maker

Arrays = dict[str, mx.array]


class Givers:
    """Who gave the named numbers of a loss.

    Args:
        makers: Name -> who gave it first, the innermost; known once it was traced.
    """

    def __init__(self, makers: dict[str, Maker] | None = None) -> None:
        self.makers: dict[str, Maker] = {} if makers is None else makers
        self._calls: list[list[Arrays]] = []

    @contextmanager
    def calling(self) -> Iterator[list[Arrays]]:
        """Gather what the function that is called meanwhile is handed by those inside it."""
        self._calls.append([])
        try:
            yield self._calls[-1]
        finally:
            self._calls.pop()

    def hand_out(self, named: Arrays, maker: Maker | None = None) -> Arrays:
        """Return named numbers for whoever called; None as maker says that they came from the loss inside."""
        if maker is not None:
            for name in named:
                self.makers.setdefault(name, maker)
        if self._calls:
            self._calls[-1].append(named)
        return dict(named)

    def check(self, maker: Maker, named: Mapping[str, Any], inside: list[Arrays]) -> None:
        """Refuse a number in place of one of the same name; a mean of those inside, as of several passes, is none.

        Args:
            maker: Who gives them.
            named: The numbers.
            inside: What it was handed.

        Raises:
            PluginFailure: A number has nothing to do with those of its name inside.
        """
        for name, value in named.items():
            found = [each[name] for each in inside if name in each]
            if found and not any(value is each or _is_made_of(value, each) for each in found):
                other = self.makers.get(name, Maker("the loss"))
                words = f"got {name!r}, which {other.provider or other.said} has"
                raise maker.fault(f"expected a name of its own for a scalar, {words}")


def _is_made_of(value: mx.array, part: mx.array) -> bool:
    """Return whether an array is another one, or computed from it."""
    graph = io.StringIO()
    mx.export_to_dot(graph, value=value, part=part)
    text = graph.getvalue()
    # One array has one name. And nothing that `part` is computed from can use it.
    return not ('"value";' in text and '"part";' in text) or '"part" ->' in text
