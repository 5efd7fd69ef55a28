"""What a model card says of a fit, read from its session; nothing that tells of the machine or of its user."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
SECTIONS = ("model", "data", "loss", "optimizer", "scheduler", "training")
COMPUTING = (
    "transform_model", "trained_parameters", "parameter_groups", "wrap_loss", "wrap_gradient", "transform_gradients",
    "after_update", "training_step", "prepare_data", "fill_fit",
)  # fmt: skip
PRIVATE = re.compile(r"token(?!s|ize)|secret|passw|pwd|api_?key|credential|seed_file", re.IGNORECASE)
# What says how fast or how often something is told, and nothing of the model.
UNTOLD = re.compile(r"log_steps|prefetch_size|num_workers|pipeline_depth|eval_batch_size|cache|exact")


@frozen
class Facts:
    """What there is to say.

    Args:
        task: binary, multiclass, multilabel or regression; None where nobody said it.
        is_text: Whether it reads texts, so that it opens from its folder.
        architecture: The architecture in config.json, such as BertForSequenceClassification.
        family: The kind of encoder, such as bert.
        base: Where its weights started, in words; "" where nowhere.
        hub_base: The same as a name on the Hugging Face hub; "" where it is none.
        labels: Names of the classes, of the columns, or of the target.
        columns: The columns that it reads, where they are known.
        rows: Set name -> rows.
        scored: The sets with labels.
        monitored: The set that is scored during training; its metrics begin with eval_.
        decided: The sets that somebody decided by.
        metrics: Name -> value.
        settings: Name -> value, in words.
        plugins: The plugins that change what is computed.
        steps: Updates done.
        epochs: Epochs done.
        cut: Tokens after which a text is cut; None where none is.
        version: Of stepbus.
    """

    task: str | None
    is_text: bool
    architecture: str
    family: str
    base: str
    hub_base: str
    labels: tuple[str, ...]
    columns: tuple[str, ...]
    rows: Mapping[str, int]
    scored: tuple[str, ...]
    monitored: str | None
    decided: tuple[str, ...]
    metrics: Mapping[str, float]
    settings: Mapping[str, str]
    plugins: tuple[str, ...]
    steps: int
    epochs: float
    cut: int | None
    version: str


def facts_of(trainer: Any) -> Facts:
    """Return what a model card says of a fit that is about to be exported.

    Args:
        trainer: Its session.
    """
    from stepbus import __version__

    config, data, state, fit = trainer.config, trainer.data, trainer.state, trainer.fit
    codec = getattr(data, "codec", None)
    own: Any = getattr(trainer.model, "config", {})
    own = own if isinstance(own, Mapping) else {}
    base, hub_base = base_of(getattr(getattr(config.model, "settings", None), "pretrained", None))
    is_text = codec is not None and hasattr(data, "encoder")
    names = () if codec is None else tuple(codec.columns if codec.task == "regression" else codec.names)
    text = getattr(config.data.settings, "text", None) if is_text else None
    return Facts(
        task=getattr(data, "task", None),
        is_text=is_text,
        architecture=", ".join(map(str, own.get("architectures") or ())) or type(trainer.model).__name__,
        family=str(own.get("model_type", "")),
        base=base,
        hub_base=hub_base,
        labels=tuple(map(str, names)),
        columns=(text,) if isinstance(text, str) else tuple(map(str, text or ())),
        rows={str(name): int(number) for name, number in dict(data.rows).items()},
        scored=tuple(name for name in data.sets if fit.is_labelled(name)),
        monitored=fit.monitored,
        decided=tuple(trainer.control.selected),
        metrics={name: float(value) for name, value in state.metrics.items()},
        settings=dict(settings_of(config)),
        plugins=tuple(choice.name for choice in config.plugins if computes(choice.loaded.cls)),
        steps=state.step,
        epochs=state.epoch_progress,
        cut=getattr(config.data.settings, "max_length", None) if is_text else None,
        version=__version__,
    )


def base_of(source: str | None) -> tuple[str, str]:
    """Return where weights started: in words without a path of the machine, and as a name on the hub.

    Args:
        source: What `model.pretrained` says.
    """
    if not source:
        return "", ""
    if source.startswith(("pypi:", "package:")):
        return source.partition("#")[0], ""
    if HUB_NAME.fullmatch(source) and not Path(source).exists():
        return source, source
    return "a model in a folder", ""


def settings_of(config: Any) -> Iterator[tuple[str, str]]:
    """Yield settings of the sections, and of the built-in plugins: numbers, and names of components; no other text.

    Args:
        config: The configuration.
    """
    values = config.deciding()
    for section in SECTIONS:
        yield from _told(section, values.get(section))
    for choice in config.plugins:
        if choice.loaded.origin == "built-in" and computes(choice.loaded.cls):
            yield from _told(f"plugins.{choice.name}", values["plugins"].get(choice.name))


def _told(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if not PRIVATE.search(str(name)) and not UNTOLD.fullmatch(str(name)):
                yield from _told(f"{path}.{name}", inner)
    elif isinstance(value, bool):
        yield path, "true" if value else "false"
    elif isinstance(value, int | float) and math.isfinite(value):
        yield path, f"{value:g}" if isinstance(value, float) else str(value)
    elif isinstance(value, str) and re.fullmatch(r"[a-z][a-z0-9_]*", value) and path.endswith(".type"):
        yield path, value


def computes(cls: Any) -> bool:
    """Return whether a plugin changes what is computed, as far as its class says so."""
    return any(hasattr(getattr(cls, hook, None), "stepbus_impl") for hook in COMPUTING)
