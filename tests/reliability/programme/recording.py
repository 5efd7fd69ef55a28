"""What a run is seen to do, line by line, in a file beside its folder: for each update its rows, numbers and tensors.

A killed run leaves its lines, a resumed one goes on with them; `comparing.py` reads them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from stepbus import hookimpl

JOURNAL = "journal.jsonl"
WALL_CLOCK = ("seconds", "_per_second", "runtime", "memory")


def without_clock(value: Any) -> Any:
    """Return a value without what the machine's speed decides, at any depth."""
    if isinstance(value, Mapping):
        return {
            name: without_clock(each)
            for name, each in value.items()
            if name != "timing" and not any(part in str(name) for part in WALL_CLOCK)
        }
    return [without_clock(each) for each in value] if isinstance(value, list | tuple) else value


def digest(arrays: Mapping[str, Any]) -> dict[str, str]:
    """Return name -> a digest of an array's dtype, shape and bytes."""
    import mlx.core as mx

    found = {}
    for name, array in arrays.items():
        if isinstance(array, mx.array) and array.dtype == mx.bfloat16:
            array = array.view(mx.uint16)
        values = np.array(array)
        words = f"{values.dtype} {values.shape} ".encode()
        found[name] = hashlib.sha256(words + values.tobytes()).hexdigest()[:16]
    return found


def plain(value: Any) -> Any:
    """Return a value as JSON can say it, arrays by their digest."""
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return next(iter(digest({"": value}).values()))
    return value


class Journal:
    """Write down what a run does."""

    scope = "run"
    affects_result = False

    def __init__(self) -> None:
        self.rows: dict[tuple[str, int, int], list[list[int]]] = {}

    def _write(self, run: Any, fit: str, kind: str, step: int, **values: Any) -> None:
        line = json.dumps({"fit": fit, "kind": kind, "step": step, **without_clock(plain(values))}, sort_keys=True)
        with (run.directory.parent / JOURNAL).open("a") as file:
            file.write(line + "\n")

    @hookimpl
    def on_run_start(self, run: Any) -> None:
        """Begin the file."""
        (run.directory.parent / JOURNAL).touch()

    @hookimpl
    def on_fit_start(self, trainer: Any, state: Any) -> None:
        """Look at each window of batches as it is handed out."""
        data, fit = trainer.data, trainer.fit_name
        original, ids = data.windows, data.tokens["train"].row_ids

        @contextmanager
        def windows(epoch: int, start: int) -> Iterator[Iterator[Any]]:
            with original(epoch, start) as given:

                def seen() -> Iterator[Any]:
                    for number, window in enumerate(given, start + 1):
                        rows = [[str(ids[row]) for row in batch.rows if row >= 0] for batch in window]
                        self.rows[fit, epoch, number] = rows
                        yield window

                yield seen()

        data.windows = windows

    @hookimpl(trylast=True)
    def on_step_end(self, trainer: Any, state: Any, step: Any) -> None:
        """Write an update; its tensors where the device is not ahead."""
        drained = trainer.pipeline_depth == 0
        self._write(
            trainer.run,
            trainer.fit_name,
            "update",
            state.step,
            rows=self.rows[trainer.fit_name, state.epoch, state.step_in_epoch],
            state={
                name: getattr(state, name)
                for name in (
                    "epoch",
                    "step_in_epoch",
                    "samples_seen",
                    "tokens_seen",
                    "skipped",
                    "learning_rate",
                    "metrics",
                )
            },
            numbers={
                name: getattr(step, name)
                for name in ("loss", "weight", "sequences", "tokens", "learning_rate", "scalars", "skipped")
            },
            loss_scale=step.loss_scale,
            base_rate=trainer.optimizer.learning_rate,
            **(self._tensors(trainer) if drained else {}),
        )

    @hookimpl(trylast=True)
    def on_log(self, trainer: Any, state: Any, record: Any) -> None:
        """Write a log record."""
        self._write(trainer.run, trainer.fit_name, "log", state.step, record=record)

    @hookimpl(trylast=True)
    def on_metrics(self, trainer: Any, state: Any, metrics: Any) -> None:
        """Write what an evaluation came to."""
        self._write(trainer.run, trainer.fit_name, "metrics", state.step, metrics=metrics)

    @hookimpl(trylast=True)
    def on_epoch_start(self, trainer: Any, state: Any) -> None:
        """Write that an epoch begins."""
        self._write(trainer.run, trainer.fit_name, "epoch_start", state.step, epoch=state.epoch)

    @hookimpl(trylast=True)
    def on_epoch_end(self, trainer: Any, state: Any) -> None:
        """Write what the epoch left."""
        self._write(
            trainer.run,
            trainer.fit_name,
            "epoch_end",
            state.step,
            epoch=state.epoch,
            plugins=_states(trainer),
            **self._tensors(trainer),
        )

    @hookimpl(trylast=True)
    def on_fit_end(self, trainer: Any, state: Any, result: Any) -> None:
        """Write what a whole fit came to."""
        if result.status not in ("ok", "stopped"):
            return
        self._write(
            trainer.run,
            trainer.fit_name,
            "end",
            state.step,
            result={
                name: getattr(result, name)
                for name in ("status", "reason", "steps", "metrics", "history", "selected", "seen")
            },
            best=None if result.best is None else [result.best.metric, result.best.value, result.best.step],
            predictions={name: _predicted(said) for name, said in result.predictions.items()},
            state=trainer.state.state_dict(),
            control=trainer.control.state_dict(),
            base_rate=trainer.optimizer.learning_rate,
            plugins=_states(trainer),
            **self._tensors(trainer),
        )

    @hookimpl(trylast=True)
    def on_run_end(self, run: Any, result: Any) -> None:
        """Write what the run came to."""
        predictions = {name: _predicted(said) for name, said in result.predictions.items()}
        self._write(run, "", "run", 0, status=result.status, metrics=result.metrics, predictions=predictions)

    def _tensors(self, trainer: Any) -> dict[str, dict[str, str]]:
        from mlx.utils import tree_flatten

        model = dict(tree_flatten(trainer.model.parameters()))
        return {"model": digest(model), "optimizer": digest(trainer.optimizer.arrays())}


def _predicted(said: Any) -> dict[str, Any]:
    return {"ids": [str(each) for each in said.row_ids], "values": said.values}


def _states(trainer: Any) -> dict[str, Any]:
    from stepbus.fit.plugins import state_of

    return state_of(trainer.bus)
