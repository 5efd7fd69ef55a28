"""Opening a model that stepbus trained: the folder says what it was made with, and the bus is rebuilt from that."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stepbus import assembly, device
from stepbus.durable import from_json
from stepbus.errors import BadInput, ModelError, one_line
from stepbus.exports import DESCRIPTION, FORMAT, verify_folder
from stepbus.folders import read_config
from stepbus.head_labels import meaning_in
from stepbus.labels import LabelCodec
from stepbus.paths import usable
from stepbus.prediction_config import UntrustedError, open_config
from stepbus.prediction_files import write_predictions as write_predictions
from stepbus.reading import read_file, refuse_half_characters
from stepbus.settings import show
from stepbus.trainer import Trainer

log = logging.getLogger(__name__)


def model_folder(path: Path) -> Path:
    """Return the model folder meant by a path: itself, a run's `model`, or a checkpoint; nothing of it is read.

    Raises:
        ModelError: Nothing there was written by stepbus.
    """
    if not path.exists():
        raise ModelError(f"{path}: there is no such folder; `stepbus train` says at its end where the model lies")
    for folder in (path, path / "model"):
        if os.path.lexists(folder / DESCRIPTION):
            return folder
    folds = sorted((path / "fits").glob(f"*/model/{DESCRIPTION}"))
    if folds:
        names = ", ".join(str(fold.parent) for fold in folds)
        raise ModelError(f"{path}: this run has several models; name one of {names}")
    inside = path / "model" if (path / "model").is_dir() else path
    raise ModelError(f"{inside}: expected a folder that stepbus wrote, found no {DESCRIPTION} in it")


def open_trainer(path: str | Path, *, trust: bool = False, plugins: Sequence[Any] = (), **overrides: Any) -> Trainer:
    """Open a trained model, ready to evaluate and predict.

    A model folder is data: opening imports the installed components that it names, and nothing else.

    Args:
        path: A run's folder, its `model`, or a checkpoint.
        trust: Grant what else the folder asks for (files and modules to import, functions to call, folders to write
            to), because you know who wrote it; what that was is said as a warning.
        plugins: Classes and objects whose components the model was made with, where no package offers them.
        **overrides: Settings by name, such as `eval_batch_size=128`.

    Returns:
        A trainer whose model, labels and templates are those that were trained.

    Raises:
        ModelError: There is no such model, it is damaged, or it asks for more than installed components.
    """
    plugins = tuple(plugins)
    folder = model_folder(usable(path, ModelError))
    place = folder / DESCRIPTION
    try:
        saved = _description(place)
        config, granted = open_config(saved["config"], folder, str(place), trust=trust, plugins=plugins)
    except UntrustedError:
        raise
    except ModelError:
        verify_folder(folder)  # where the file is damaged, that explains it better
        raise
    verify_folder(folder)
    if granted:
        log.warning("%s: trusted, so it had its way:\n  %s", place, "\n  ".join(map(str, granted)))
    config = config.updated(overrides)
    device.choose(config.environment.device)
    trainer = Trainer(config, plugins=plugins)
    trainer.encoder = assembly.new_encoder(config)
    try:
        trainer.encoder.load_state_dict(saved["encoder"])
    except BadInput as error:
        raise ModelError(f"{place}: encoder.{error}") from error
    except Exception as error:  # a component reads its own state, and this one may be anything
        raise ModelError(
            f"{place}: encoder.source: expected what the data component learnt, got something else "
            f"({type(error).__name__}: {error})"
        ) from error
    trainer.encoder.opened = place
    _check_outputs(folder, place, trainer.encoder.codec)
    trainer.model = assembly.config_model(config, trainer.encoder.codec, seed=0)
    if trainer.model.loaded.initialised:
        raise ModelError(f"{folder}: the weights are incomplete: {'; '.join(trainer.model.loaded.lines())}")
    trainer.metrics, trainer.directions = assembly.chosen_metrics(config, assembly.task_of(trainer.encoder.codec))
    trainer.directory = folder
    assembly.compile_evaluation(trainer)
    return trainer


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
        text = read_file(place, ModelError).decode("utf-8")
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
