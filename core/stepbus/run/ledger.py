"""The ledger: every finished fit, durably, so that a run of many goes on where it was killed.

The entry of a fit vouches for its predictions and its model, and for itself; it is believed only while all of them are
what was written.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from attrs import asdict

from stepbus.base import CheckpointError, read_file, remedy_of
from stepbus.fit.seen import lineage_in
from stepbus.kernel import Best, Fit, FitResult, Lineage, Predictions
from stepbus.storage import (
    DESCRIPTION,
    PLAIN_NAME,
    Written,
    check_export,
    check_file,
    document_digest,
    fsync_folder,
    sealed,
    unsealed,
    write_bytes_atomically,
    write_json_atomically,
    written_from,
)
from stepbus.text.rows import ids as row_ids

RESULT = "result.json"
PREDICTIONS = "predictions.npz"


def write(
    directory: Path, result: FitResult, run_id: str, begun: str = "", stays: Mapping[str, Any] | None = None
) -> None:
    """Keep the result of a finished fit: the predictions first, what says that it is finished last.

    Args:
        directory: The fit's folder.
        result: Its result.
        run_id: The run's number.
        begun: The digest of what it was begun with.
        stays: What shall stay of its checkpoints; None: all.

    Raises:
        CheckpointError: It cannot be written.
        DataError: A row id cannot be kept.
    """
    content = packed(result.predictions)
    model = result.model_path
    try:
        write_bytes_atomically(directory / PREDICTIONS, content)
        entry = {
            "run": run_id,
            "fit": result.fit.name,
            "seed": result.fit.seed,
            "begun": begun,
            "status": result.status,
            "metrics": result.metrics,
            "best": asdict(result.best) if result.best else None,
            "history": result.history,
            "logged": result.logged,
            "epoch_means": result.epoch_means,
            "steps": result.steps,
            "skipped": result.skipped,
            "first_skipped": result.first_skipped,
            "reason": result.reason,
            "traces": result.traces,
            "seconds": result.seconds,
            "times": result.times,
            "resumed_at": result.resumed_at,
            "conditions": result.conditions,
            "disabled": result.disabled,
            "selected": result.selected,
            "seen": result.seen,
            "predictions": asdict(Written(len(content), hashlib.sha256(content).hexdigest())),
            "model": {"folder": model.name, "digest": check_export(model)[1]} if model else None,
            "checkpoints": stays,
        }
        write_json_atomically(directory / RESULT, sealed(entry))
    except OSError as error:
        raise CheckpointError(
            f"{error.filename or directory}: the result of {result.fit.name} cannot be written ({error.strerror}); "
            f"{remedy_of(error)} and resume"
        ) from error


def read(directory: Path, fit: Fit, run_id: str) -> FitResult | None:
    """Return the result of a fit that this run has finished, or None; every file of it is verified.

    Raises:
        CheckpointError: There is a result, and something of it is not what was written.
    """
    place, saved = directory / RESULT, entry_of(directory, fit.name, run_id)
    if saved is None:
        return None
    try:
        seed, wanted = saved["seed"], written_from(saved["predictions"])
        if seed != fit.seed:
            return None  # a resume with --allow-changed, which has said so
        model = _model(directory, saved["model"])
        return FitResult(
            fit,
            saved["status"],
            saved["metrics"],
            _predictions(directory, wanted),
            directory,
            model,
            Best(**saved["best"]) if saved["best"] else None,
            saved["history"],
            saved["steps"],
            saved["reason"],
            saved["traces"],
            saved["seconds"],
            dict(saved.get("conditions", {})),
            dict(saved.get("disabled", {})),
            times=dict(saved.get("times", {})),
            resumed_at=saved.get("resumed_at", 0),
            lineage=Lineage() if model is None else lineage_in(model),
            selected=dict(saved.get("selected", {})),
            seen=dict(saved.get("seen", {})),
            logged=list(saved.get("logged", [])),
            epoch_means=list(saved.get("epoch_means", [])),
            skipped=saved.get("skipped", 0),
            first_skipped=saved.get("first_skipped", 0),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(place, error) from error


def is_kept(directory: Path) -> bool:
    """Whether there is a result of a finished fit, unread."""
    return os.path.lexists(directory / RESULT)


def take_back(directory: Path) -> None:
    """Remove the entry of a fit that is to go on; its model and predictions stay until they are written anew."""
    (directory / RESULT).unlink(missing_ok=True)
    fsync_folder(directory)


def fingerprint(directory: Path, name: str, run_id: str) -> str:
    """Return a digest of what a fit gives to those that need it, its predictions and its model; "" of one not done.

    Raises:
        CheckpointError: Its entry is damaged, or that of another fit.
    """
    saved = entry_of(directory, name, run_id)
    if saved is None:
        return ""
    return document_digest({"predictions": saved["predictions"]["sha256"], "model": saved["model"]})


def entry_of(directory: Path, name: str, run_id: str) -> dict[str, Any] | None:
    """Return the entry of a fit, nothing of which is held against its files; None where there is none.

    Raises:
        CheckpointError: It is damaged, or that of another fit.
    """
    place = directory / RESULT
    if not is_kept(directory):
        return None
    try:
        saved = unsealed(read_file(place, CheckpointError, links=False))
        if (saved["run"], saved["fit"]) != (run_id, name):
            whose = f"that of {saved['fit']}{'' if saved['run'] == run_id else ' of another run'}"
            raise CheckpointError(f"{place}: expected the result of {name} of this run, got {whose}")
        saved["begun"], saved["predictions"]["sha256"], saved["model"]
    except CheckpointError as error:
        raise CheckpointError(f"{error}; remove it to do this fit again") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(place, error) from error
    return saved


def kept_model(directory: Path, name: str, run_id: str) -> str | None:
    """Return the digest of the model that the entry of a fit vouches for; None where there is no entry.

    Raises:
        CheckpointError: The entry is damaged, or that of another fit.
    """
    saved = entry_of(directory, name, run_id)
    if saved is None:
        return None
    try:
        return str(saved["model"]["digest"]) if saved["model"] else ""
    except (KeyError, TypeError) as error:
        raise _damaged(directory / RESULT, error) from error


def _damaged(place: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{place}: expected a finished fit's result, got a damaged one ({error}); remove it to do this fit again"
    )


def _again(directory: Path, what: Path) -> str:
    """Return how a fit is done again when one of its results is damaged."""
    return f"remove {what} and {directory / RESULT} to do this fit again"


def packed(results: Mapping[str, Predictions]) -> bytes:
    """Return predictions as the content of a file, no pickle in it."""
    arrays: dict[str, Any] = {}
    for name, predictions in results.items():
        kind, ids = row_ids.to_array(predictions.row_ids)
        arrays[f"{name}/row_ids.{kind}"] = ids
        arrays[f"{name}/values"] = predictions.values
        for part in ("labels", "weights", "fold", "decided"):
            if (array := getattr(predictions, part)) is not None:
                arrays[f"{name}/{part}"] = array
    if odd := [name for name, array in arrays.items() if array.dtype.hasobject]:
        raise CheckpointError(f"{odd[0]}: expected numbers or text to keep, got Python objects")
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def unpacked(content: bytes) -> dict[str, Predictions]:
    """Return the predictions that `packed` made a file of."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        found = {key.rpartition("/")[0]: key.rpartition(".")[2] for key in arrays if "/row_ids." in key}
        return {
            name: Predictions(
                row_ids.from_array(kind, arrays[f"{name}/row_ids.{kind}"]),
                arrays[f"{name}/values"],
                *(arrays.get(f"{name}/{part}") for part in ("labels", "weights", "fold", "decided")),
            )
            for name, kind in found.items()
        }


def _predictions(directory: Path, wanted: Written) -> dict[str, Predictions]:
    path = directory / PREDICTIONS
    try:
        check_file(path, wanted)
        return unpacked(read_file(path, CheckpointError, wanted.size, links=False))
    except CheckpointError as error:
        raise CheckpointError(f"{error}; {_again(directory, path)}") from error
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"{path}: expected a fit's predictions, got something else ({error}); {_again(directory, path)}"
        ) from error


def _model(directory: Path, saved: dict[str, str] | None) -> Path | None:
    if saved is None:
        return None
    name, digest = saved["folder"], saved["digest"]
    if not PLAIN_NAME.fullmatch(name):
        raise ValueError(f"expected the name of a model's folder, got {name!r}")
    folder = directory / name
    try:
        if check_export(folder)[1] != digest:
            raise CheckpointError(f"{folder / DESCRIPTION}: expected the model of this fit, got another one")
    except CheckpointError as error:
        raise CheckpointError(f"{error}; {_again(directory, folder)}") from error
    return folder
