"""What follows the weights after each update: arrays of plugins; see the hook `after_update`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx
from attrs import frozen

from stepbus.base import show_python
from stepbus.base.guards import Maker
from stepbus.compute.checks import handed_out, kind_of

Arrays = dict[str, mx.array]


@frozen(eq=False)
class Follower:
    """The arrays of one plugin and how they follow.

    Args:
        name: The plugin.
        maker: How messages name it.
        arrays: What it begins with: arrays by name, in dictionaries.
        function: (parameters, arrays) -> the new arrays.
        weights: (parameters, arrays) -> what is evaluated in place of the parameters, or None.
        always: Whether a skipped update moves the arrays as well, with the parameters as they stand.
    """

    name: str
    maker: Maker
    arrays: Mapping[str, Any]
    function: Callable[..., Any]
    weights: Callable[..., Any] | None = None
    always: bool = False


class Followers:
    """All of them; their arrays live in the optimizer's state, so that they are captured, kept and checkpointed.

    Args:
        given: The followers, in call order.
        state: The optimizer's state, which gets `plugins`.

    Raises:
        PluginFailure: What one of them gave is no dictionary of arrays.
    """

    def __init__(self, given: list[Follower], state: dict[str, Any]) -> None:
        self.given, self.state = given, state
        self.begin()

    def begin(self) -> None:
        """Put the arrays in place that they begin with."""
        self.state["plugins"] = {each.name: _copied(each, each.arrays, "arrays") for each in self.given}
        mx.eval(self.state["plugins"])

    def follow(self, parameters: Arrays, finite: mx.array) -> None:
        """Let them follow an update; where it was skipped, they keep their values unless they follow always.

        Args:
            parameters: What is trained in any phase, by name.
            finite: Whether everything of the update was a finite number, 0-d.
        """
        for each in self.given:
            before = self.state["plugins"][each.name]
            with each.maker.calling("its function of parameters and arrays"):
                given = each.function(handed_out(parameters), self.copied(each))
            self.state["plugins"][each.name] = _kept(each, before, given, None if each.always else finite, "")

    def copied(self, follower: Follower) -> dict[str, Any]:
        """Return the present arrays of one of them, in dictionaries of its own, to write into."""
        return _copied(follower, self.state["plugins"][follower.name], "arrays")

    def arrays(self) -> Iterator[tuple[str, dict[str, Any], str]]:
        """Yield the name of each array with the dictionary that holds it and its key."""
        for name, arrays in self.state["plugins"].items():
            yield from _places(f"plugins.{name}", arrays)


def _places(path: str, arrays: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    for key, value in arrays.items():
        if isinstance(value, dict):
            yield from _places(f"{path}.{key}", value)
        else:
            yield f"{path}.{key}", arrays, key


def _copied(follower: Follower, value: Any, where: str) -> dict[str, Any]:
    expected = "expected a dictionary of arrays, or of dictionaries of arrays"
    if not isinstance(value, Mapping):
        raise follower.maker.fault(f"{where}: {expected}, got {show_python(value)}")
    found: dict[str, Any] = {}
    for key, each in value.items():
        if not isinstance(key, str):
            raise follower.maker.fault(f"{where}: expected texts as names, got {show_python(key)}")
        if not isinstance(each, mx.array | Mapping):
            raise follower.maker.fault(f"{where}: {expected}, got {show_python(each)} as {key!r}")
        found[key] = _copied(follower, each, f"{where}.{key}") if isinstance(each, Mapping) else each[...]
    return found


def _kept(follower: Follower, before: dict[str, Any], given: Any, finite: mx.array | None, path: str) -> dict[str, Any]:
    """Return the new arrays where the update was finite (None: anyway), else those before; all keep their kind."""
    if not isinstance(given, Mapping):
        where = f" as {path!r}" if path else ""
        raise follower.maker.fault(f"expected the new arrays as a dictionary, got {_said(given)}{where}")
    found: dict[str, Any] = {}
    for key in [*before, *(key for key in given if key not in before)]:
        name = f"{path}.{key}" if path else str(key)
        if key not in given or key not in before:
            got, where = ("got none", "was there before") if key in before else ("got it", "was not there before")
            raise follower.maker.fault(f"expected the same arrays as before, {got} of {name!r}, which {where}")
        old, new = before[key], given[key]
        if isinstance(old, dict):
            found[key] = _kept(follower, old, new, finite, name)
            continue
        if not isinstance(new, mx.array) or (new.shape, new.dtype) != (old.shape, old.dtype):
            raise follower.maker.fault(f"expected {name!r} as {kind_of(old)}, got {_said(new)}")
        found[key] = new if finite is None else mx.where(finite, new, old)
    return found


def _said(value: Any) -> str:
    return kind_of(value) if isinstance(value, mx.array) else show_python(value)
