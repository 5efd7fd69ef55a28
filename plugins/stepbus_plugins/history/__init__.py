"""The history of a fit on disk: every logged record and every evaluation, as JSON lines and as a table."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from attrs import define

from stepbus import TrainingState, hookimpl, write_text_atomically
from stepbus import counted as number
from stepbus_plugins.history.records import as_line as as_line
from stepbus_plugins.history.records import as_table as as_table
from stepbus_plugins.history.records import is_wall_clock as is_wall_clock
from stepbus_plugins.history.records import read_records as read_records
from stepbus_plugins.history.records import salvage as salvage


def _belongs(record: dict[str, Any], step: int) -> bool:
    """Say whether a record is one of the updates up to a step, where no checkpoint counted the lines."""
    return record.get("kind") != "end" and isinstance(at := record.get("step"), int | float) and at <= step


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Give what the file system refuses the name of the file: a write that fails does not say where."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


class History:
    """Write every logged record and every evaluation of a fit to history.jsonl and history.csv."""

    affects_result = False  # a resume may change it
    writes = ("history.jsonl", "history.csv")

    @define(frozen=True, kw_only=True)
    class Config:
        pass

    def __init__(self, config: Config) -> None:
        self.config = config
        self.written = 0
        self.restored: int | None = None
        self.reason = ""
        self.path: Path | None = None

    @hookimpl
    def on_fit_start(self, trainer: Any, state: TrainingState) -> None:
        """Begin a new file, or cut what an interrupted run wrote after the checkpoint that is resumed."""
        self.path = Path(trainer.directory) / "history.jsonl"
        with named(self.path):
            lines = salvage(self.path) if state.step or self.restored else []
            if self.restored is not None:
                counted, kept = self.restored, [each for each in lines[: self.restored] if each is not None]
            else:
                counted = sum(each is None or _belongs(each, state.step) for each in lines)
                kept = [each for each in lines if each is not None and _belongs(each, state.step)]
            self.written = len(kept)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if kept or self.path.exists():
                content = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in kept)
                write_text_atomically(self.path, content)
        if lost := counted - len(kept):
            trainer.message(
                f"{self.path}: of the {number(counted, 'line')} up to step {state.step}, {lost} "
                f"{'is' if lost == 1 else 'are'} missing or damaged; the "
                "history goes on without them",
                "warning",
            )

    @hookimpl
    def on_log(self, state: TrainingState, record: dict[str, Any]) -> None:
        """Write one logged record."""
        self._append(self.path, {"kind": "log", "step": state.step, **record})

    @hookimpl
    def on_evaluate_start(self, reason: str) -> None:
        """Remember why the evaluation takes place."""
        self.reason = reason

    @hookimpl
    def on_evaluate(self, state: TrainingState, name: str, metrics: dict[str, float]) -> None:
        """Write the metrics of one row set."""
        # The fraction is exact at a boundary, whether or not the epoch has been counted yet.
        epoch = state.step / state.steps_per_epoch if state.steps_per_epoch else float(state.epoch)
        self._append(
            self.path,
            {"kind": "evaluation", "step": state.step, "epoch": epoch, "set": name, "reason": self.reason, **metrics},
        )

    @hookimpl
    def on_epoch_end(self, state: TrainingState) -> None:
        """Write the means over the rows of an epoch, of the loss and of each part of it."""
        epoch = float(state.epoch + 1)
        self._append(self.path, {"kind": "epoch", "step": state.step, "epoch": epoch, **state.train_means})

    @hookimpl
    def on_fit_end(self, trainer: Any, state: TrainingState, result: Any) -> None:
        """Write how the fit ended and who asked for it, and make the table from all lines."""
        path, self.path = self.path, None
        if path is None or (result.status == "failed" and not state.step and not self.written):
            return  # no fit, or one that failed before it began
        end = {"kind": "end", "step": state.step, "status": str(result.status)}
        end |= {f"{what}_seconds": seconds for what, seconds in result.times.items()}
        if result.times and result.resumed_at:  # what an earlier process took is not in them
            end["seconds_since_step"] = result.resumed_at
        if state.step_in_epoch and result.status in ("ok", "stopped"):  # within an epoch, which has no line of its own
            end |= state.train_means
        if why := trainer.control.why("stop"):
            end["why"] = why
        self._append(path, end)
        table = path.with_suffix(".csv")
        with named(path):
            lines = salvage(path)
        with named(table):
            write_text_atomically(table, as_table([record for record in lines if record is not None]))
        if damaged := [str(number) for number, record in enumerate(lines, start=1) if record is None]:
            trainer.message(f"{path}: damaged in line {', '.join(damaged)}; {table.name} goes without", "warning")
        trainer.artifact("history", path)
        trainer.artifact("history", table)

    def state_dict(self) -> dict[str, Any]:
        """Return how many lines belong to the state that is being saved, having made them durable."""
        if self.path is not None and self.path.exists():
            with named(self.path), self.path.open("rb+") as file:
                os.fsync(file.fileno())
        return {"written": self.written}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.restored = self.written = saved["written"]

    def _append(self, path: Path | None, record: dict[str, Any]) -> None:
        # Evaluations outside a fit (the `evaluate` command) belong to no history.
        if path is None:
            return
        # Opened for each record: nothing stays open when a run dies, at some 30 microseconds a record.
        with named(path), path.open("ab", buffering=0) as file:
            before = file.tell()
            rest = as_line(record).encode()
            try:
                while rest:
                    rest = rest[file.write(rest) or 0 :]
            except OSError:
                with suppress(OSError):
                    file.truncate(before)  # no half a line in front of the next
                raise
        self.written += 1
