"""The gradient at moved weights: which are moved, and where to; functions of arrays alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from stepbus import PluginError, counted, did_you_mean

SCALAR = "adversarial_loss"


def named_parameters(model: Any) -> dict[str, Any]:
    """Return a model's parameters by name."""
    from mlx.utils import tree_flatten

    flat: Any = tree_flatten(model.parameters())
    return dict(flat)


def chosen(patterns: Sequence[str] | None, arrays: Mapping[str, Any], trained: Iterable[str]) -> list[str]:
    """Return the parameters that patterns match, in order; frozen ones can be moved as well.

    Args:
        patterns: Such as `*word_embeddings.weight`; None stands for every matrix that is trained.
        arrays: Parameter name -> array, of all.
        trained: The names of those that are trained.

    Raises:
        LookupError: A pattern matches nothing, or no matrix is trained.
    """
    if patterns is None:
        if matrices := [name for name in trained if arrays[name].ndim >= 2]:
            return matrices
        raise LookupError("expected matrices that are trained, got none; name other parameters")
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in arrays):
            near = did_you_mean(pattern, arrays)
            some = next((name for name, array in arrays.items() if array.ndim >= 2), "")
            raise LookupError(
                f"expected patterns of the model's {counted(len(arrays), 'parameter')}, such as {some!r}, got "
                f"{pattern!r}, which matches none{near}"
            )
    return [name for name in arrays if any(fnmatchcase(name, pattern) for pattern in patterns)]


def adversarial(
    value_and_grad: Callable[..., Any],
    every: Callable[[], Mapping[str, Any]],
    choose: Callable[[Mapping[str, Any], Iterable[str]], Sequence[str]],
    move: Callable[..., Any],
    *,
    steps: int,
    weights: tuple[float, float],
    mode: str,
) -> Callable[[Mapping[str, Any], Any], tuple[Any, Any, dict[str, Any], dict[str, Any]]]:
    """Return a gradient that looks at moved weights too; the weights themselves stay as they are.

    Args:
        value_and_grad: `(parameters, batch) -> (total, weight, scalars, gradients)`.
        every: Gives all parameters of the model by name.
        choose: Of all parameters by name, and the names of those that are trained, the names of what is moved.
        move: Of a parameter, its gradient and its change so far, the new change.
        steps: How often it is moved.
        weights: What the gradients count: at the weights as they are, and at the moved ones.
        mode: What the number of a second one is called by.
    """
    clean, moved = weights

    def wrapped(parameters: Mapping[str, Any], batch: Any) -> tuple[Any, Any, dict[str, Any], dict[str, Any]]:
        arrays = {**every(), **parameters}
        names = choose(arrays, list(parameters))
        here = {**parameters, **{name: arrays[name] for name in names}}
        total, weight, scalars, gradients = value_and_grad(here, batch)
        at, changes, there = dict(here), dict.fromkeys(names, 0.0), gradients
        for step in range(steps):
            if step:
                there = value_and_grad(at, batch)[3]
            changes = {name: move(here[name], there[name], changes[name]) for name in names}
            at |= {name: here[name] + changes[name] for name in names}
        worst, _, _, there = value_and_grad(at, batch)
        both = {name: clean * gradients[name] + moved * there[name] for name in parameters}
        own = SCALAR if SCALAR not in scalars else f"{SCALAR}_{mode}"
        if own in scalars:
            raise PluginError(f"adversarial_training: expected each mode once, got {mode} twice; leave one of them out")
        return total, weight, {**scalars, own: worst}, both

    return wrapped


def fgm(epsilon: float) -> Callable[[Any, Any, Any], Any]:
    """Return the change of the fast gradient method: epsilon · g / |g|."""

    def move(parameter: Any, gradient: Any, change: Any) -> Any:
        return epsilon * unit(gradient)

    return move


def awp(rate: float, gamma: float) -> Callable[[Any, Any, Any], Any]:
    """Return one ascent of adversarial weight perturbation: rate · |w| · g / |g| further, within gamma · |w|."""

    def move(parameter: Any, gradient: Any, change: Any) -> Any:
        import mlx.core as mx

        from stepbus import hoist

        size = norm(parameter)
        further = change + hoist(rate * size) * unit(gradient)
        length = norm(further)
        limit = gamma * size
        return further * hoist(mx.where(length > limit, limit / length, 1.0))

    return move


def unit(gradient: Any) -> Any:
    """Return a gradient at length 1; one of zeros, as a batch of padding has it, stays as it is."""
    import mlx.core as mx

    from stepbus import hoist

    gradient = gradient.astype(mx.float32)
    # By the largest first: squares of small numbers, as a confident model has them, are 0 in float32.
    largest = mx.abs(gradient).max()
    scaled = gradient / hoist(mx.where(largest == 0, 1.0, largest))
    return scaled / hoist(mx.maximum(norm(scaled), 1.0))


def norm(array: Any) -> Any:
    """Return the Euclidean norm of an array, 0-d; summed one axis at a time, which keeps float32 near the true sum."""
    import mlx.core as mx

    square = mx.square(array.astype(mx.float32))
    while square.ndim:
        square = square.sum(axis=0)
    return mx.sqrt(square)
