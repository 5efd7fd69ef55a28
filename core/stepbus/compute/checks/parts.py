"""The parts of a classifier as they are called: what one raises or gives is looked at, and names who made it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx
from attrs import evolve
from mlx.utils import tree_map

from stepbus.base import ModelError
from stepbus.base.guards import Maker


def maker_of(model: Any, part: str) -> Maker:
    """Return how messages name a part of a model, and whom it comes from.

    Args:
        model: The model, which holds its parts by name.
        part: encoder, pooling or head.
    """
    provider: str = getattr(model, "providers", {}).get(part, "")
    return Maker(f"the {part} {type(getattr(model, part)).__name__}", provider)


def called(model: Any, part: str, *arguments: Any, method: str = "", mend: str = "", **keywords: Any) -> Any:
    """Return what a part of a model says.

    Args:
        model: The model.
        part: encoder, pooling or head.
        *arguments: What it is called with.
        method: The method to call; none calls the part itself.
        mend: What to do where it raises.
        **keywords: What it is called with by name.

    Raises:
        ModelError: It raised, or has no such method.
    """
    maker, module = maker_of(model, part), getattr(model, part)
    function = getattr(module, method, None) if method else module
    if function is None:
        raise maker.fault(f"expected methods loss and predictions, got no {method}", ModelError)
    with evolve(maker, mend=mend).calling(method or "its call", ModelError):
        return function(*arguments, **keywords)


def encoded(model: Any, batch: Mapping[str, mx.array]) -> Any:
    """Return what the encoder makes of a batch: hidden [B, L, D], or a list of them where the pooling reads all layers.

    Raises:
        ModelError: It raised, or gave something else.
    """
    mask, types = batch["attention_mask"], batch.get("token_type_ids")
    told: dict[str, Any] = {"first_token_only": getattr(model.pooling, "first_token_only", False)}
    every = bool(getattr(model.pooling, "all_layers", False))
    if every:
        told["all_layers"] = True
    hidden = called(model, "encoder", batch["input_ids"], mask, types, **told)
    rows, width = mask.shape[0], int(model.encoder.hidden_size)
    expected = f"hidden states [B, L, D], here {[rows, mask.shape[1], width]}"
    if every:
        expected = f"a list of {expected}: those of the embeddings, then each layer's"
        if not isinstance(hidden, list | tuple) or len(hidden) < 2:
            got = f"a list of {len(hidden)}" if isinstance(hidden, list | tuple) else shown(hidden)
            raise maker_of(model, "encoder").fault(f"all_layers: expected {expected}, got {got}", ModelError)
    for each in hidden if every else [hidden]:
        shape = shape_of(each)
        if len(shape) != 3 or (shape[0], shape[2]) != (rows, width):
            raise maker_of(model, "encoder").fault(f"expected {expected}, got {shown(each)}", ModelError)
    return list(hidden) if every else hidden


def pooled_width(encoder: Any, pooling: Any) -> int:
    """Return the width of what a pooling gives: its `output_size`, or that of the encoder's vectors."""
    own = getattr(pooling, "output_size", None)
    return int(encoder.hidden_size if own is None else own)


def pooled_by(model: Any, hidden: Any, mask: mx.array) -> mx.array:
    """Return what the pooling makes of hidden [B, L, D], or a list of them, and a mask [B, L]: [B, D].

    Raises:
        ModelError: It raised, or gave something else.
    """
    pooled: mx.array = called(model, "pooling", hidden, mask)
    wanted = (mask.shape[0], pooled_width(model.encoder, model.pooling))
    if shape_of(pooled) != wanted:
        raise maker_of(model, "pooling").fault(f"expected [B, D], here {list(wanted)}, got {shown(pooled)}", ModelError)
    return pooled


def shape_of(value: Any) -> tuple[int, ...]:
    """Return the shape of an array; (-1,), which no array has, of anything else."""
    return value.shape if isinstance(value, mx.array) else (-1,)


def shown(value: Any) -> str:
    """Return what was given in place of an array that was expected, in words."""
    if isinstance(value, mx.array):
        return f"an array {list(value.shape)}"
    return f"a {type(value).__name__}"


def kind_of(array: mx.array) -> str:
    """Return number format and shape of an array, in words: "float32 [2, 3]"."""
    return f"{str(array.dtype).rpartition('.')[2]} {list(array.shape)}"


def handed_out(tree: Any) -> Any:
    """Return a tree of arrays for somebody who may write into it: containers and arrays are his own, at no cost.

    Args:
        tree: Dictionaries and lists of arrays; `array += 1` and `array[0] = 1` on the copy leave it as it is.
    """
    return tree_map(lambda array: array[...], tree)
