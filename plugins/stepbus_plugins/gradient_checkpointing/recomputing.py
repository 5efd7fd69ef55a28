"""A layer that is computed again in the backward pass, as a subclass of its own class.

MLX gives what such a function finds in its closure no gradient, and lets it draw new random numbers the second time. So
every array of the layer goes in as an argument, and dropout draws again what it drew the first time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_map

from stepbus import ModelError

# The random state at the beginning of the layers that are just being computed again, the innermost last.
_drawing: list[mx.array] = []


class Recomputed:
    """Marks a class of layers that are computed again."""


@functools.cache
def recomputed(cls: type) -> type:
    """Return the subclass of a class of layers that computes itself again in the backward pass.

    Args:
        cls: The class of a layer; one that does so already is returned as it is.
    """
    if issubclass(cls, Recomputed):
        return cls

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not self.training:
            return cls.__call__(self, *args, **kwargs)
        return _checkpointed(self, cls, args, kwargs)

    body = {"__call__": call, "__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    return type(cls.__name__, (cls, Recomputed), body)


def _checkpointed(layer: Any, cls: Any, args: Any, kwargs: Any) -> Any:
    """Return what a layer gives, with a gradient that computes it again."""
    _key_dropout(layer)
    places, flat = list(_places(layer)), tree_flatten(layer.trainable_parameters())
    trained: Any = dict(flat)
    stream = mx.default_stream(mx.default_device())
    shape: list[Any] = []  # what came out, once it has
    for leaf in _leaves((args, kwargs)):
        if isinstance(leaf, Iterator) or _arrays_inside(leaf):
            raise _refusal(layer, f"it is given a {type(leaf).__name__}, whose arrays no gradient reaches")

    def compute(*given: mx.array) -> list[mx.array]:
        own, state, rest = given[: len(places)], given[len(places)], iter(given[len(places) + 1 :])
        again = bool(shape)
        now = [
            array if name in trained else mx.stop_gradient(array)
            for array, (name, _, _) in zip(own, places, strict=True)
        ]
        told_args, told_kwargs = _filled((args, kwargs), map(_without_gradient, rest))
        before, random = [holder[key] for _, holder, key in places], _random_state()
        for (_, holder, key), array in zip(places, now, strict=True):
            holder[key] = array
        if again:
            _drawing.append(mx.stop_gradient(state))
        try:
            with mx.stream(stream):  # where it ran the first time, so that each half of a batch keeps to its core
                result = cls.__call__(layer, *told_args, **told_kwargs)
        except Exception as error:
            if again:
                raise _refusal(layer, f"the second time, it raised {error!r}") from error
            raise
        finally:
            if again:
                _drawing.pop()
            for (_, holder, key), mine, array in zip(places, before, now, strict=True):
                # What the layer itself has put there, such as a running mean, is kept, of the first time.
                if again or holder[key] is array:
                    holder[key] = mine
        if again and _random_state() is not random:
            raise _refusal(layer, "it draws random numbers of its own, which are others the second time")
        if not again:
            for leaf in _leaves(result):
                if not isinstance(leaf, mx.array | int | float | None):
                    raise _refusal(layer, f"it gives a {type(leaf).__name__}, expected arrays, or tuples of them")
            shape.append(result)
        return _arrays(result)

    function = mx.custom_function(compute)

    @function.vjp
    def gradient(primals: Any, cotangents: Any, _: Any) -> Any:
        # MLX would compute many layers again first and many gradients of weights last, and keep what these need. So a
        # layer waits for the gradient of what it gave, and the ones below it for the gradients of its weights.
        found = mx.vjp(compute, mx.depends(list(primals), list(cotangents)), list(cotangents))[1]
        of_weights, rest = found[: len(places)], found[len(places) :]
        return [*of_weights, *mx.depends(rest, of_weights)]

    inputs = [*(holder[key] for _, holder, key in places), _random_state(), *_arrays((args, kwargs))]
    results: Any = function(*inputs)
    return _filled(shape[0], iter(results))


def _random_state() -> mx.array:
    """Return what MLX's generator draws from; it is another array after each draw."""
    state: Any = mx.random.state
    found: mx.array = state[0]
    return found


def _leaves(tree: Any) -> list[Any]:
    flat: Any = tree_flatten(tree)
    return [leaf for _, leaf in flat]


def _arrays(tree: Any) -> list[mx.array]:
    return [leaf for leaf in _leaves(tree) if isinstance(leaf, mx.array)]


def _arrays_inside(value: Any) -> bool:
    """Return whether an object that is no collection holds arrays."""
    names = {*getattr(type(value), "__slots__", ()), *getattr(value, "__dict__", ())}
    return any(_arrays(getattr(value, name, None)) for name in names)


def _filled(tree: Any, arrays: Iterator[mx.array]) -> Any:
    """Return a tree with other arrays in the places of its own, in order."""
    return tree_map(lambda leaf: next(arrays) if isinstance(leaf, mx.array) else leaf, tree)


def _without_gradient(array: mx.array) -> mx.array:
    """Return an argument; whole numbers, such as the keys of random numbers, have no gradient."""
    return array if mx.issubdtype(array.dtype, mx.inexact) else mx.stop_gradient(array)


def _refusal(layer: nn.Module, why: str) -> ModelError:
    name = type(layer).__name__
    return ModelError(
        f"gradient_checkpointing: expected layers that can be computed twice, got {name}: {why}; switch "
        "gradient_checkpointing off"
    )


def _places(tree: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield each array of a module by its name, with what holds it and its place there."""
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        name = f"{path}.{key}" if path else str(key)
        if isinstance(value, mx.array):
            yield name, tree, key
        elif isinstance(value, dict | list):
            yield from _places(value, name)


# -- dropout -----------------------------------------------------------------------------------------------------------


def _key_dropout(layer: nn.Module) -> None:
    """Let the dropouts in a layer draw again what they drew."""
    for _, module in layer.named_modules():
        if type(module) in _DROPOUTS:
            module.__class__ = _DROPOUTS[type(module)]


def _dropped(module: Any, x: mx.array, shape: Sequence[int], plain: Callable[[mx.array], mx.array]) -> mx.array:
    """Return what MLX's own dropout gives, of the next key of the random state that its layer began with."""
    if not _drawing or module._p_1 == 1 or not module.training:
        return plain(x)
    _drawing[-1], key = mx.random.split(_drawing[-1])  # as MLX's generator does
    kept: float = module._p_1
    return (mx.random.bernoulli(kept, list(shape), key=key) * x) * (1 / kept)


class _Dropout(nn.Dropout):
    def __call__(self, x: mx.array) -> mx.array:
        return _dropped(self, x, x.shape, super().__call__)


class _Dropout2d(nn.Dropout2d):
    def __call__(self, x: mx.array) -> mx.array:
        return _dropped(self, x, [*x.shape[:-3], 1, 1, x.shape[-1]], super().__call__)


class _Dropout3d(nn.Dropout3d):
    def __call__(self, x: mx.array) -> mx.array:
        return _dropped(self, x, [*x.shape[:-4], 1, 1, 1, x.shape[-1]], super().__call__)


_DROPOUTS: dict[type, type] = {nn.Dropout: _Dropout, nn.Dropout2d: _Dropout2d, nn.Dropout3d: _Dropout3d}
