"""The model `bert`: an encoder from a Hugging Face folder, a package or the hub, or from scratch by size."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from attrs import define

from stepbus import Component, ModelConfig, ModelError, Selected, setting

# Layers, width and heads of Google's BERT miniatures (Turc et al. 2019, arXiv 1908.08962); inner width is 4 times.
SIZES = {
    "tiny": (2, 128, 2),
    "mini": (4, 256, 4),
    "small": (4, 512, 8),
    "medium": (8, 512, 8),
    "base": (12, 768, 12),
}
ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu")
REQUIRED = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
OPTIONAL = (
    *("hidden_act", "hidden_dropout_prob", "attention_probs_dropout_prob", "max_position_embeddings"),
    *("type_vocab_size", "initializer_range", "layer_norm_eps", "position_embedding_type", "is_decoder"),
    *("add_cross_attention", "model_type"),
)
WORDS = "bert.embeddings.word_embeddings.weight"
FROM_SCRATCH = ("size", *REQUIRED, "max_position_embeddings")  # what a folder's config.json says otherwise


def _size(meaning: str) -> Any:
    return setting(None, meaning, check=lambda n: n is None or n >= 1, expected="a whole number of at least 1")


def _dropout(meaning: str) -> Any:
    return setting(None, meaning, check=lambda p: p is None or 0 <= p < 1, expected="a number from 0 to below 1")


@define(frozen=True, kw_only=True)
class BertConfig(ModelConfig):
    size: Literal["tiny", "mini", "small", "medium", "base"] | None = setting(
        None, "from scratch: layers, width and heads of Google's BERT miniatures"
    )
    hidden_size: int | None = _size("from scratch: width of a token's vector, in place of the size's own")
    num_hidden_layers: int | None = _size("from scratch: layers, in place of the size's own")
    num_attention_heads: int | None = _size("from scratch: attention heads, a divisor of the width")
    intermediate_size: int | None = _size("from scratch: inner width of the feed-forward; default 4 times the width")
    vocab_size: int | None = _size("from scratch: entries of the tokenizer's vocabulary")
    max_position_embeddings: int | None = _size("from scratch: longest sequence, in tokens; default 512")
    hidden_dropout: float | None = _dropout("dropout inside the encoder; none takes the model folder's own, or 0.1")
    attention_dropout: float | None = _dropout("dropout of attention weights; none takes the folder's own, or 0.1")
    resize_embeddings: bool = setting(
        False, "whether the table of tokens gets new rows where the tokenizer has more tokens than it"
    )


def scratch_config(settings: BertConfig) -> dict[str, Any]:
    """Return the config.json of a model from scratch.

    Raises:
        ModelError: No size, or no vocabulary, is known.
    """
    layers, width, heads = SIZES[settings.size] if settings.size else (None, None, None)
    width = settings.hidden_size or width
    config = {
        "model_type": "bert",
        "vocab_size": settings.vocab_size,
        "hidden_size": width,
        "num_hidden_layers": settings.num_hidden_layers or layers,
        "num_attention_heads": settings.num_attention_heads or heads,
        "intermediate_size": settings.intermediate_size or (4 * width if width else None),
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": settings.max_position_embeddings or 512,
        "type_vocab_size": 2,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
    }
    missing = [name for name in REQUIRED if config[name] is None]
    if missing:
        raise ModelError(
            f"model: {', '.join(missing)} missing; name pretrained weights, "
            f"or for a model from scratch a size ({', '.join(SIZES)}) and vocab_size"
        )
    return config


def check_config(config: dict[str, Any], source: str) -> None:
    """Refuse a config.json that describes another architecture than this encoder computes.

    Raises:
        ModelError: It does.
    """

    def expected(what: str, wanted: str, got: object) -> ModelError:
        return ModelError(f"{source}: {what}: expected {wanted}, got {got!r}; pick another model")

    if config.get("model_type", "bert") != "bert":
        raise expected("model_type", "'bert'", config["model_type"])
    for name in REQUIRED:
        if not isinstance(config.get(name), int) or config[name] < 1:
            raise expected(name, "a whole number of at least 1", config.get(name))
    if config["hidden_size"] % config["num_attention_heads"]:
        raise expected(
            "num_attention_heads", f"a divisor of hidden_size {config['hidden_size']}", config["num_attention_heads"]
        )
    if config.get("hidden_act", "gelu") not in ACTIVATIONS:
        raise expected("hidden_act", f"one of {', '.join(ACTIVATIONS)}", config["hidden_act"])
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise expected("position_embedding_type", "'absolute'", config["position_embedding_type"])
    if config.get("is_decoder") or config.get("add_cross_attention"):
        raise expected("is_decoder", "an encoder", True)


def model_config(settings: BertConfig) -> dict[str, Any]:
    """Return the config.json of the model, checked; its weights are not read.

    Raises:
        ModelError: The folder or its config.json cannot be used.
    """
    return _described(settings)[1]


def _described(settings: BertConfig) -> tuple[Path | None, dict[str, Any]]:
    """Return the folder that the model comes from, if there is one, and its config.json."""
    from stepbus import find_folder, read_config, vocabulary_rows

    folder = None
    if settings.pretrained is None:
        config = scratch_config(settings)
    else:
        for name in (name for name in FROM_SCRATCH if getattr(settings, name) is not None):
            raise ModelError(f"model.{name}: {settings.pretrained} has its own; leave {name} or pretrained out")
        folder = find_folder(settings.pretrained)
        # Where null stands for an optional key, its default holds; transformers opens no export that says null.
        config = {key: value for key, value in read_config(folder).items() if value is not None or key not in OPTIONAL}
    # What the encoder takes where config.json is silent: tokens are held against these sizes before it is built.
    config = {"max_position_embeddings": 512, "type_vocab_size": 2, **config}
    source = settings.tokenizer or settings.pretrained
    if settings.resize_embeddings and source is not None and isinstance(config.get("vocab_size"), int):
        config["vocab_size"] = max(config["vocab_size"], vocabulary_rows(find_folder(source, weights=False)))
    check_config(config, "model" if folder is None else str(folder))
    if settings.hidden_dropout is not None:
        config["hidden_dropout_prob"] = settings.hidden_dropout
    if settings.attention_dropout is not None:
        config["attention_probs_dropout_prob"] = settings.attention_dropout
    return folder, config


def build(settings: BertConfig, *, outputs: int, head: Selected, seed: int) -> Any:
    """Build the whole classifier.

    Args:
        settings: The model section.
        outputs: Number of logits a row.
        head: The head that was picked, or that fits the labels.
        seed: Seed of whatever is newly initialised.

    Raises:
        ModelError: The folder, its config.json or its weights cannot be used.
    """
    from stepbus import compose, read_tensors
    from stepbus_plugins.bert.encoder import Encoder

    folder, config = _described(settings)
    return compose(
        settings,
        Encoder(config),
        config,
        outputs=outputs,
        head=head,
        seed=seed,
        architecture="Bert",
        tensors=None if folder is None else read_tensors(folder),
        source="model" if folder is None else str(folder),
        growing=(WORDS,) if settings.resize_embeddings else (),
    )


class Bert:
    """BERT as the model: from a Hugging Face folder, a package, the hub, or from scratch by size."""

    components: ClassVar[list[Component]] = [
        Component("model", "bert", BertConfig, build, {"from_scratch": FROM_SCRATCH, "config": model_config})
    ]
