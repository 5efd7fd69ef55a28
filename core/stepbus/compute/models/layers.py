"""The layers of a model, lowest first, and how deep each parameter lies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.nn as nn
from mlx.utils import tree_flatten

from stepbus.base import ModelError


def layers_of(model: Any) -> list[nn.Module]:
    """Return the layers of a model, lowest first.

    They are those that its encoder, or the model itself, offers as `layers`, else the longest list in it of modules of
    one class. Modules without parameters and tables of embeddings are no layers.

    Args:
        model: A classifier, an encoder, or any `mlx.nn.Module`.

    Raises:
        ModelError: It has none.

    Example:
        >>> len(layers_of(model))
        1
    """
    for part in _offering(model):
        if offered := _layers(getattr(part, "layers", None)):
            return offered
    lists = [_layers(value) for _, value in _nodes(model)]
    found = max((each for each in lists if len({type(module) for module in each}) == 1), key=len, default=[])
    if not found:
        raise ModelError(
            f"expected a model with layers, got the {type(model).__name__} without a list of modules of one class; "
            "give it an attribute `layers`, a list of modules, lowest first"
        )
    return found


def depths_of(model: Any) -> dict[str, int]:
    """Return how deep each parameter lies: 0 in the embeddings, 1 to N in the layers, N + 1 above them.

    Embeddings are what the encoder, or the model itself, offers as `embeddings`; where it offers none, what was put
    into the model before the layers.

    Args:
        model: A classifier, an encoder, or any `mlx.nn.Module`.

    Returns:
        Parameter name, as `parameter_groups` has it, -> depth, in the model's order.

    Raises:
        ModelError: It has no layers.

    Example:
        >>> depths = depths_of(model)
        >>> depths["encoder.embeddings.word_embeddings.weight"], max(depths.values())
        (0, 2)
    """
    layers = layers_of(model)
    waiting: dict[int, list[int]] = {}
    for depth, layer in enumerate(layers, 1):
        waiting.setdefault(id(layer), []).append(depth)
    beside = [getattr(part, "embeddings", None) for part in _offering(model)]
    embeddings = next((each for each in beside if isinstance(each, dict | list)), None)
    places: dict[str, int] = {}
    for place, value in _nodes(model):
        if uses := waiting.get(id(value)):
            places[place] = uses.pop(0) if len(uses) > 1 else uses[0]  # a layer that is used twice has a name for each
        elif value is embeddings:
            places[place] = 0
    depths: dict[str, int] = {}
    below = embeddings is None
    named: Any = tree_flatten(model.parameters())
    for name, _ in named:
        inside = next((depth for place, depth in places.items() if name.startswith(f"{place}.")), None)
        below = below and inside is None
        depths[name] = inside if inside is not None else 0 if below else len(layers) + 1
    return depths


def count_layers(model: Any) -> int | None:
    """Return how many layers a model has, or None where nobody can tell."""
    try:
        return len(layers_of(model))
    except ModelError:
        return None


def _offering(model: Any) -> list[Any]:
    encoder = getattr(model, "encoder", None)
    return [each for each in (encoder, model) if isinstance(each, nn.Module)]


def _layers(found: Any) -> list[nn.Module]:
    """Return the layers in what may be a list of modules; none where it is no such list."""
    if not isinstance(found, list | tuple) or not all(isinstance(each, nn.Module) for each in found):
        return []
    return [each for each in found if not isinstance(each, nn.Embedding) and tree_flatten(each.parameters())]


def _nodes(tree: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every module, dictionary and list in a tree of parameters by its place, outer ones first, in order."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree if isinstance(tree, list) else ()):
        if isinstance(value, dict | list) and not str(key).startswith("_"):
            here = f"{place}.{key}" if place else str(key)
            yield here, value
            yield from _nodes(value, here)
