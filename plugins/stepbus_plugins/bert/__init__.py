"""The model `bert`: an encoder from a Hugging Face folder, a package or the hub, or from scratch by size."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from attrs import define

from stepbus import Component, ModelError, ModelSettings, Selected, setting
from stepbus_plugins.bert.checked import (
    REQUIRED,
    check_config,
    check_scratch,
    check_weights,
    with_defaults,
    without_null,
)
from stepbus_plugins.bert.tensors import BESIDE, encoder_shapes

# Layers, width and heads of Google's BERT miniatures (Turc et al. 2019, arXiv 1908.08962); inner width is 4 times.
SIZES = {
    "tiny": (2, 128, 2),
    "mini": (4, 256, 4),
    "small": (4, 512, 8),
    "medium": (8, 512, 8),
    "base": (12, 768, 12),
}
WORDS = "bert.embeddings.word_embeddings.weight"
FROM_SCRATCH = ("size", *REQUIRED, "max_position_embeddings")  # what a folder's config.json says otherwise


def _size(meaning: str) -> Any:
    return setting(None, meaning, check=lambda n: n is None or n >= 1, expected="a whole number of at least 1")


def _dropout(meaning: str) -> Any:
    return setting(None, meaning, check=lambda p: p is None or 0 <= p < 1, expected="a number from 0 to below 1")


@define(frozen=True, kw_only=True)
class BertConfig(ModelSettings):
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


def model_config(settings: BertConfig) -> dict[str, Any]:
    """Return the config.json of the model, checked; its weights are not read.

    Raises:
        ModelError: The folder or its config.json cannot be used.
    """
    return _described(settings)[1]


def shapes(settings: BertConfig) -> dict[str, tuple[int, ...]]:
    """Return parameter name -> shape of the encoder: those of its files, else those that its sizes make.

    Raises:
        ModelError: The folder or its config.json cannot be used.
    """
    from stepbus import file_shapes

    folder, config = _described(settings)
    return encoder_shapes(config) if folder is None else file_shapes(folder, BESIDE)


def unread(settings: BertConfig) -> Any:
    """Return the encoder as it is built, its weights unread.

    Raises:
        ModelError: The folder or its config.json cannot be used.
    """
    from stepbus_plugins.bert.encoder import Encoder

    return Encoder(_described(settings)[1])


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
        config = without_null(read_config(folder))
    check_config(config, "model" if folder is None else str(folder / "config.json"))
    config = with_defaults(config)
    if folder is not None:
        check_weights(folder, config)
    source = settings.tokenizer or settings.pretrained
    if settings.resize_embeddings and source is not None:
        config["vocab_size"] = max(config["vocab_size"], vocabulary_rows(find_folder(source, weights=False)))
    if folder is None:
        sizes = {name: getattr(settings, name) for name in FROM_SCRATCH[1:]}
        check_scratch(config, {name: size for name, size in sizes.items() if size is not None})
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
        Component(
            "model",
            "bert",
            BertConfig,
            build,
            {"from_scratch": FROM_SCRATCH, "config": model_config, "shapes": shapes, "encoder": unread},
        )
    ]
