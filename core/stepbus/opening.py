"""Opening a model that stepbus trained: the folder says what it was made with, and the bus is rebuilt from that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stepbus import assembly, checkpoints, device
from stepbus.config import load_config
from stepbus.durable import from_json, write_text_atomically
from stepbus.errors import BadInput, CheckpointError, ModelError
from stepbus.paths import usable
from stepbus.persistence import DESCRIPTION
from stepbus.reading import read_file, refuse_half_characters
from stepbus.rows import read_rows
from stepbus.trainer import Trainer


def model_folder(path: Path) -> Path:
    """Return the model folder meant by a path: itself, a run's `model`, or a checkpoint.

    Raises:
        ModelError: Nothing there was written by stepbus.
    """
    if not path.exists():
        raise ModelError(f"{path}: there is no such folder; `stepbus train` says at its end where the model lies")
    for folder in (path, path / "model"):
        if (folder / DESCRIPTION).is_file():
            if (folder / checkpoints.MANIFEST).exists():
                checkpoints.verify(folder.resolve())
            return folder
    folds = sorted((path / "fits").glob(f"*/model/{DESCRIPTION}"))
    if folds:
        names = ", ".join(str(fold.parent) for fold in folds)
        raise ModelError(f"{path}: this run has several models; name one of {names}")
    raise ModelError(f"{path}: expected a folder that stepbus wrote, found no {DESCRIPTION} in it")


def open_trainer(path: str | Path, **overrides: Any) -> Trainer:
    """Open a trained model, ready to evaluate and predict.

    Args:
        path: A run's folder, its `model`, or a checkpoint.
        **overrides: Settings by name, such as `eval_batch_size=128`.

    Returns:
        A trainer whose model, labels and templates are those that were trained.

    Raises:
        ModelError: There is no such model, or it is damaged.
    """
    folder = model_folder(usable(path, ModelError))
    try:
        text = read_file(folder / DESCRIPTION, ModelError).decode("utf-8")
        saved = from_json(text)
        refuse_half_characters(text, saved)
        tree, encoder = saved["config"], saved["encoder"]
        tree["model"] = {**tree["model"], "pretrained": str(folder.resolve()), "tokenizer": None}
    except (OSError, ValueError, KeyError, TypeError, CheckpointError) as error:
        raise ModelError(
            f"{folder / DESCRIPTION}: expected how the model was made, got a damaged file ({error})"
        ) from error
    # What only watches a training run has no business here, and may not be installed.
    tree["hooks"] = []
    config = load_config(tree, keywords=overrides)
    device.choose(config.environment.device)
    trainer = Trainer(config)
    trainer.encoder = assembly.new_encoder(config)
    try:
        trainer.encoder.load_state_dict(encoder)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{folder / DESCRIPTION}: expected what the data was, got a damaged file ({error})") from error
    trainer.model = assembly.config_model(config, trainer.encoder.codec, seed=0)
    if trainer.model.loaded.initialised:
        raise ModelError(f"{folder}: the weights are incomplete: {'; '.join(trainer.model.loaded.lines())}")
    trainer.metrics, trainer.directions = assembly.chosen_metrics(config, assembly.task_of(trainer.encoder.codec))
    trainer.directory = folder
    assembly.compile_evaluation(trainer)
    return trainer


def write_predictions(trainer: Trainer, data: Any, output: str | Path) -> int:
    """Write predictions as CSV: the row's id, the prediction in words or units, and probabilities.

    Args:
        trainer: An opened or trained model.
        data: A file, a pandas frame, or rows.
        output: The CSV file; it is replaced only when all is known.

    Returns:
        The number of rows.
    """
    import pandas as pd

    path = usable(output, setting="output")
    if path.is_dir():
        raise BadInput(f"{path}: expected a file to write the predictions to, got a folder")
    settings = trainer.config.data.settings
    rows = read_rows(data, name="predict", config=settings)
    predictions, _ = trainer.predict_rows(rows)
    frame = pd.DataFrame({settings.id or "row": rows.ids, **trainer.encoder.codec.decode(predictions.values)})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(path, frame.to_csv(index=False))
    return len(frame)
