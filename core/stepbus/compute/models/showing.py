"""What a model is, in words; nothing is computed for that."""

from __future__ import annotations

from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
from mlx.utils import tree_flatten

from stepbus.base import counted
from stepbus.compute.models.layers import count_layers


def model_in_words(model: Any, made_from: Any = None) -> str:
    """Return a model as one line: what it was made of, its layers, head and parameters.

    Args:
        model: A classifier, or any module.
        made_from: The section `model` that it was made from, where the model itself does not know.
    """
    size = f"{counted(count_parameters(model), 'parameter')}"
    settings = getattr(model, "settings", None) or made_from
    if not hasattr(model, "encoder") or not hasattr(model, "task"):  # a module of the user's own
        return f"{type(model).__name__}, {size}"
    family = str(getattr(model.encoder, "prefix", "")).strip(".")
    name = settings.name if settings is not None else family or type(model.encoder).__name__
    source = "" if settings is None else f" ({settings.settings.pretrained or 'from scratch'})"
    pooling = "" if settings is None else f", pooling {settings.settings.pooling.name}"
    layers = count_layers(model.encoder)
    deep = f", {counted(layers, 'layer')} of {model.encoder.hidden_size:,}" if layers else ""
    return f"{name}{source}{deep}{pooling}, {model.task} head of {counted(model.outputs, 'output')}, {size}"


def count_parameters(model: Any) -> int:
    """Return how many numbers a module has, frozen ones too."""
    flat: Any = tree_flatten(model.parameters())
    return sum(array.size for _, array in flat)
