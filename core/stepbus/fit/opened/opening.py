"""A trained model's folder opened: it says what it was made with, and that is made again; nothing else is imported."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from stepbus.base import (
    BadInput,
    ConfigError,
    ModelError,
    Problem,
    error_words,
    one_line,
    read_foreign,
    refuse_half_characters,
    show,
)
from stepbus.base.scoring import thresholds_of
from stepbus.compute import CompiledSteps, ParameterUpdater, StepParts, read_config
from stepbus.compute.models import meaning_in, tell_classes
from stepbus.device import choice
from stepbus.fit import config_model, new_encoder
from stepbus.fit.computing import head_forward, label_facts
from stepbus.fit.opened.changed_code import other_code
from stepbus.fit.opened.prediction_config import UntrustedError, open_config
from stepbus.fit.opened.predictor import Predictor
from stepbus.fit.opened.session import OpenedSession, opened_bus
from stepbus.fit.saving import other_model
from stepbus.fit.scoring import chosen_metrics
from stepbus.storage import AVERAGED, DESCRIPTION, FORMAT, from_json, is_averaged, verify_folder
from stepbus.text import TextData

if TYPE_CHECKING:
    from stepbus.config import Config
    from stepbus.text.labels import LabelCodec

log = logging.getLogger(__name__)


@frozen(eq=False)
class OpenedModel:
    """A trained model that was opened.

    Args:
        folder: Where it lies.
        config: What of its configuration prediction needs.
        model: The model.
        predictor: What predicts with it.
    """

    folder: Path
    config: Config
    model: Any
    predictor: Predictor


def open_model(
    folder: Path,
    *,
    trust: bool = False,
    plugins: Sequence[Any] = (),
    overrides: Mapping[str, Any] | None = None,
    name: str = "",
    told: set[str] | None = None,
    model: Any = None,
) -> OpenedModel:
    """Open a trained model, ready to evaluate and predict.

    Args:
        folder: The model's folder.
        trust: Grant what else the folder asks for; what that was is said as a warning.
        plugins: Classes and objects whose components the model was made with, where no package offers them.
        overrides: Settings by name.
        name: What it is called in messages; none takes the folder.
        told: What was said of other models of the same run, and need not be said of each.
        model: One that has these weights already, to predict with; none builds that of the folder.

    Raises:
        ModelError: There is no such model, it is damaged, or it asks for more than installed components.
    """
    place = folder / DESCRIPTION
    try:
        saved = _description(place)
        _refuse_module(folder, saved["encoder"])
        config, granted = open_config(saved["config"], folder, str(place), trust=trust, plugins=plugins)
    except UntrustedError:
        raise
    except ModelError:
        verify_folder(folder)  # where the file is damaged, that explains it better
        raise
    verify_folder(folder)
    if granted:
        log.warning("%s: trusted, so it had its way:\n  %s", place, "\n  ".join(map(str, granted)))
    if (words := other_code(saved.get("plugins"), config, plugins)) and words not in (told or ()):
        log.warning("%s: %s", place, words)
        if told is not None:
            told.add(words)
    trained, config = config, config.updated(overrides or {})
    choice.choose(config.environment.device)
    encoder = new_encoder(config)
    try:
        encoder.load_state_dict(saved["encoder"])
    except BadInput as error:
        raise ModelError(f"{place}: encoder.{error}") from error
    except Exception as error:  # a component reads its own state, and this one may be anything
        raise ModelError(
            f"{place}: encoder.source: expected what the data component learnt, got something else "
            f"({error_words(error)})"
        ) from error
    encoder.opened = place
    if overrides:
        _take_over(config, trained, encoder.codec)
    if overrides and (words := other_model(trained.model, config.model, encoder.codec.task or "")):
        log.warning(
            "%s: its weights were trained for other outputs: %s; its predictions mean nothing yet", folder, words
        )
    _check_outputs(folder, place, encoder.codec)
    model = config_model(config, encoder.codec, seed=0) if model is None else model
    if model.loaded.initialised:
        raise ModelError(f"{folder}: the weights are incomplete: {'; '.join(model.loaded.lines())}")
    try:
        tell_classes(model.head, encoder.codec.names)
        forward = head_forward(config, label_facts(config, encoder))
    except BadInput as error:
        raise ModelError(f"{place}: config.{error}") from error
    data = TextData(config, encoder, {})
    metrics, _ = chosen_metrics(config, data.task, data.codec)
    unused = ParameterUpdater(config.optimizer.build(), 0.0)
    steps = CompiledSteps(model, unused, StepParts(), rate=lambda step: 0.0, seed=0, forward=forward)
    named = name or str(folder)
    bus = opened_bus(folder, config, saved.get("predicting", {}), plugins)
    session = OpenedSession(folder, named, config, data, model, steps, bus)
    return OpenedModel(folder, config, model, Predictor(named, data, steps, metrics, session))


def _take_over(config: Config, trained: Config, codec: LabelCodec) -> None:
    """Take over what was said at opening of labels, of which the folder has what was said in training.

    Raises:
        ConfigError: It is something that weights were trained for, or no threshold of these labels.
    """
    now = config.data.settings
    for name, here, there in (("task", now.task, codec.task), ("target", now.target, codec.target)):
        if here is not None and here != there:
            words = f"expected {show(there)}, which the model was trained for, got {show(here)}; leave it out"
            raise ConfigError([config.locate(Problem(f"data.{name}", words))])
    if now.threshold != trained.data.settings.threshold:
        codec.threshold = now.threshold
        codec.thresholds = thresholds_of(now.threshold, codec.task, codec.names, "data.threshold")


def _refuse_module(folder: Path, encoder: Any) -> None:
    """Refuse a model whose code or batches are somebody's own: a folder is data, and nothing in it can build those.

    Raises:
        UntrustedError: It is one.
    """
    if isinstance(encoder, dict) and isinstance(made := encoder.get("module"), str):
        weights = folder / (AVERAGED if is_averaged(folder) else "model.safetensors")
        raise UntrustedError(
            f"{folder}: its model was made in Python ({one_line(made)}) and trained on a loader, so it cannot be "
            f'opened from here; make the model in Python, model.load_weights("{weights}"), and create_trainer(model, …)'
            " evaluates, predicts and trains on"
        )


def _check_outputs(folder: Path, place: Path, codec: LabelCodec) -> None:
    """Refuse labels that are not as many as the outputs which config.json names."""
    names = meaning_in(read_config(folder), "", own=True).names
    if names is not None and len(names) != codec.outputs:
        raise ModelError(
            f"{place}: encoder.labels.names: expected {len(names)}, as many as config.json names outputs, "
            f"got {codec.outputs}"
        )


def _description(place: Path) -> dict[str, Any]:
    """Return what a folder says of its model, in the present format."""
    try:
        text = read_foreign(place, ModelError).decode("utf-8")
        saved = from_json(text)
        refuse_half_characters(text, saved)
        saved["config"], saved["encoder"], saved["stepbus"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{place}: expected how the model was made, got a damaged file ({error})") from error
    if saved.get("format") != FORMAT:
        raise ModelError(
            f"{place}: expected format {FORMAT}, got {show(saved.get('format'))}, which stepbus "
            f"{one_line(str(saved['stepbus']))} wrote; export the model with this version again "
            "(`stepbus train … --resume` does)"
        )
    found: dict[str, Any] = saved
    return found
