"""The ledger: every finished fit, durably, so that a run of many goes on where it was killed."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from attrs import asdict

from stepbus.durable import from_json, write_bytes_atomically, write_json_atomically
from stepbus.errors import CheckpointError
from stepbus.fits import Fit, FitResult, Predictions
from stepbus.state import Best

RESULT = "result.json"
PREDICTIONS = "predictions.npz"


def write(directory: Path, result: FitResult, run_id: str) -> None:
    """Keep the result of a finished fit: the predictions first, what says that it is finished last."""
    arrays: dict[str, Any] = {}
    for name, predictions in result.predictions.items():
        # Row ids may be words: fixed-width text needs no pickle.
        arrays[f"{name}/row_ids"] = np.asarray(predictions.row_ids.tolist())
        arrays[f"{name}/values"] = predictions.values
        if predictions.labels is not None:
            arrays[f"{name}/labels"] = predictions.labels
    content = io.BytesIO()
    np.savez(content, **arrays)
    write_bytes_atomically(directory / PREDICTIONS, content.getvalue())
    write_json_atomically(
        directory / RESULT,
        {
            "run": run_id,
            "fit": result.fit.name,
            "seed": result.fit.seed,
            "status": result.status,
            "metrics": result.metrics,
            "best": asdict(result.best) if result.best else None,
            "history": result.history,
            "steps": result.steps,
            "reason": result.reason,
            "traces": result.traces,
            "seconds": result.seconds,
            "conditions": result.conditions,
            "model": result.model_path.name if result.model_path else None,
        },
    )


def read(directory: Path, fit: Fit, run_id: str) -> FitResult | None:
    """Return the result of a fit that this run has finished, or None.

    Raises:
        CheckpointError: There is a result, and it cannot be read.
    """
    if not (directory / RESULT).exists():
        return None
    try:
        saved = from_json((directory / RESULT).read_text(encoding="utf-8"))
        if (saved["run"], saved["fit"], saved["seed"]) != (run_id, fit.name, fit.seed):
            return None
        content = io.BytesIO((directory / PREDICTIONS).read_bytes())
        with np.load(content, allow_pickle=False) as arrays:
            names = dict.fromkeys(key.rpartition("/")[0] for key in arrays)
            predictions = {
                name: Predictions(
                    arrays[f"{name}/row_ids"],
                    arrays[f"{name}/values"],
                    arrays.get(f"{name}/labels"),
                )
                for name in names
            }
        return FitResult(
            fit,
            saved["status"],
            saved["metrics"],
            predictions,
            directory,
            directory / saved["model"] if saved["model"] else None,
            Best(**saved["best"]) if saved["best"] else None,
            saved["history"],
            saved["steps"],
            saved["reason"],
            saved["traces"],
            saved["seconds"],
            dict(saved.get("conditions", {})),
        )
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"{directory / RESULT}: expected a finished fit's result, got a damaged one ({error}); "
            "remove it to do this fit again"
        ) from error
