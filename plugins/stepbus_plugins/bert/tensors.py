"""BERT's tensors: what older files call them, what else a file may hold, and their shapes by config.json."""

from __future__ import annotations

from typing import Any

Shapes = dict[str, tuple[int, ...]]

# Older files call a norm's weight gamma and its bias beta, as those of TensorFlow do.
OLD_NAMES = ((".LayerNorm.gamma", ".LayerNorm.weight"), (".LayerNorm.beta", ".LayerNorm.bias"))
# What a file may hold beside the encoder, by the first or second part of a name: its pooler, and heads of pretraining.
BESIDE = ("pooler", "cls", "lm_head")


def present_name(name: str) -> str | None:
    """Return the name that Hugging Face uses today for a tensor of an older file, None for what is no parameter."""
    if name.endswith("position_ids"):  # a constant
        return None
    for old, new in OLD_NAMES:
        if f".{name}".endswith(old):
            return (f".{name}".removesuffix(old) + new)[1:]
    return name


def encoder_shapes(config: dict[str, Any]) -> Shapes:
    """Return the shapes of the encoder's parameters.

    Args:
        config: A checked config.json with defaults.
    """
    width, inner = config["hidden_size"], config["intermediate_size"]
    shapes: Shapes = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], width),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], width),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], width),
        **_norm("embeddings", width),
    }
    for layer in range(config["num_hidden_layers"]):
        here = f"encoder.layer.{layer}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            shapes |= _linear(f"{here}.attention.{part}", width, width)
        shapes |= _linear(f"{here}.intermediate.dense", width, inner) | _linear(f"{here}.output.dense", inner, width)
        shapes |= _norm(f"{here}.attention.output", width) | _norm(f"{here}.output", width)
    return shapes


def _linear(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(place: str, width: int) -> Shapes:
    return {f"{place}.LayerNorm.weight": (width,), f"{place}.LayerNorm.bias": (width,)}
