"""Whether a config.json describes what this encoder computes, fits its weights, and fits into memory: asked first."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from stepbus import ModelError, check_keys, wrong_key
from stepbus_plugins.bert.tensors import BESIDE

ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu")
REQUIRED = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
# What transformers' BertConfig takes where config.json is silent or says null.
DEFAULTS = {
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "initializer_range": 0.02,
}
OPTIONAL = ("position_embedding_type", "is_decoder", "add_cross_attention", "model_type")
_OLD_PREFIX = re.compile(r"^(.*\.)?(?=(embeddings|encoder)\.)")


def check_config(config: dict[str, Any], source: str) -> None:
    """Refuse a config.json that describes another architecture than this encoder computes, or none at all.

    Args:
        config: Its content.
        source: The file, or "model" for sizes of the section.

    Raises:
        ModelError: It does.
    """
    if config.get("model_type", "bert") != "bert":
        raise wrong_key(source, "model_type", "'bert'", config["model_type"])
    check_keys(config, source, REQUIRED)
    width, heads = config["hidden_size"], config["num_attention_heads"]
    if width % heads:
        raise wrong_key(source, "num_attention_heads", f"a divisor of hidden_size {width}", heads)
    if (config.get("hidden_act") or "gelu") not in ACTIVATIONS:
        raise wrong_key(source, "hidden_act", f"one of {', '.join(ACTIVATIONS)}", config["hidden_act"])
    if (config.get("position_embedding_type") or "absolute") != "absolute":
        raise wrong_key(source, "position_embedding_type", "'absolute'", config["position_embedding_type"])
    for name in ("is_decoder", "add_cross_attention"):
        if config.get(name):
            raise wrong_key(source, name, "an encoder", config[name])


def without_null(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config.json without null for optional keys: the default holds, and no export says null for them."""
    return {key: value for key, value in config.items() if value is not None or key not in (*DEFAULTS, *OPTIONAL)}


def with_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config.json with a value for every key that has a default."""
    return {**config, **{name: value for name, value in DEFAULTS.items() if config.get(name) is None}}


def parameters(config: dict[str, Any]) -> int:
    """Return how many numbers an encoder has, by arithmetic alone: nothing is made that grows with the answer.

    Args:
        config: A checked config.json with defaults.
    """
    width, inner = config["hidden_size"], config["intermediate_size"]
    rows = config["vocab_size"] + config["max_position_embeddings"] + config["type_vocab_size"]
    layer = 4 * (width + 1) * width + (width + 1) * inner + (inner + 1) * width + 4 * width
    return int(rows * width + 2 * width + config["num_hidden_layers"] * layer)


def check_scratch(config: dict[str, Any], given: dict[str, int]) -> None:
    """Refuse a model from scratch that this machine cannot hold.

    Args:
        config: Its checked config.json with defaults.
        given: The sizes that the model section sets.

    Raises:
        ModelError: Its weights alone are more than the memory.
    """
    from stepbus import check_room

    largest = max(given, key=lambda name: given[name], default="size")
    check_room(parameters(config), f"model.{largest}")


def check_weights(folder: Path, config: dict[str, Any]) -> None:
    """Hold a config.json against the heads of the files of weights; their bodies are not read.

    Args:
        folder: A model folder.
        config: Its checked config.json with defaults.

    Raises:
        ModelError: They do not belong together.
    """
    from stepbus import file_shapes

    shapes = {_OLD_PREFIX.sub("", name): (name, shape) for name, shape in file_shapes(folder, BESIDE).items()}
    width = config["hidden_size"]
    rows = {
        "embeddings.word_embeddings.weight": "vocab_size",
        "embeddings.position_embeddings.weight": "max_position_embeddings",
        "embeddings.token_type_embeddings.weight": "type_vocab_size",
        "encoder.layer.0.intermediate.dense.weight": "intermediate_size",
    }
    for name, key in rows.items():
        shape = (config[key], width)
        spelt, got = shapes.get(name, (name, shape))
        if got != shape:
            wrong = key if got[1:] == shape[1:] else "hidden_size"
            raise _apart(folder, f"tensor {spelt!r}: expected shape {shape}, got {got}", wrong)
    for layer in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{layer}.attention.self.query.weight"
        # Where the first layer is missing too, the file is of another kind, and loading says which.
        if name not in shapes and "encoder.layer.0.attention.self.query.weight" in shapes:
            expected = f"expected shape {(width, width)}"
            raise _apart(folder, f"tensor {name!r} is missing ({expected})", "num_hidden_layers")


def _apart(folder: Path, what: str, key: str) -> ModelError:
    return ModelError(f"{folder}: {what}; config.json ({key}) and weights do not belong together")
