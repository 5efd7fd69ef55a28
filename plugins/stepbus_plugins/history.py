"""The history of a fit on disk: every logged record and every evaluation, as JSON lines and as a table."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from pathlib import Path
from typing import Any

from attrs import define

from stepbus import StepbusError, TrainingState, hookimpl, write_text_atomically

_WALL_CLOCK = ("seconds", "_per_second", "runtime", "memory")


def is_wall_clock(name: str) -> bool:
    """Say whether a field depends on the machine rather than on the computation."""
    return any(part in name for part in _WALL_CLOCK)


def as_line(record: dict[str, Any]) -> str:
    """Return a record as one line of strict JSON.

    Fields of the wall clock go under `timing`, so that the rest of two runs can be compared. A number that is not
    finite, which JSON cannot say, becomes null, and its text stands under `not_finite`.
    """
    line: dict[str, Any] = {}
    timing: dict[str, Any] = {}
    not_finite: dict[str, str] = {}
    for name, value in record.items():
        kept = value
        if isinstance(value, float) and not math.isfinite(value):
            kept, not_finite[name] = None, str(value)
        (timing if is_wall_clock(name) else line)[name] = kept
    line |= {"timing": timing} if timing else {}
    line |= {"not_finite": not_finite} if not_finite else {}
    return json.dumps(line, allow_nan=False, ensure_ascii=False) + "\n"


def read_records(path: Path) -> list[dict[str, Any]]:
    """Return the records of a history.jsonl; a last line that a kill tore is left out.

    Args:
        path: The file; a missing one has no records.

    Returns:
        One mapping per line, as written.

    Raises:
        StepbusError: A line before the last is no JSON object.
    """
    if not path.exists():
        return []
    records: list[dict[str, Any]] = []
    # What follows the last newline is empty, or torn by a kill.
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            raise StepbusError(f"{path}:{number}: expected a JSON object; move the file away to begin a new history")
        records.append(record)
    return records


def as_table(records: list[dict[str, Any]]) -> str:
    """Return records as CSV: one column per field in order of first appearance, the wall clock's last."""
    rows: list[dict[str, Any]] = []
    plain: dict[str, None] = {}
    timed: dict[str, None] = {}
    for record in records:
        timing, not_finite = record.get("timing", {}), record.get("not_finite", {})
        row = {name: value for name, value in record.items() if name not in ("timing", "not_finite")}
        plain |= dict.fromkeys(row)
        timed |= dict.fromkeys(timing)
        rows.append(row | timing | not_finite)
    text = io.StringIO()
    writer = csv.DictWriter(text, [*plain, *timed], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


class History:
    """Write every logged record and every evaluation of a fit to history.jsonl and history.csv."""

    affects_result = False  # a resume may change it

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
        kept = read_records(self.path) if state.step or self.restored else []
        if self.restored is not None:
            kept = kept[: self.restored]
        else:
            kept = [record for record in kept if record["kind"] != "end" and record["step"] <= state.step]
        self.written = len(kept)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomically(self.path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in kept))

    @hookimpl
    def on_log(self, state: TrainingState, record: dict[str, Any]) -> None:
        """Write one logged record."""
        self._append({"kind": "log", "step": state.step, **record})

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
            {"kind": "evaluation", "step": state.step, "epoch": epoch, "set": name, "reason": self.reason, **metrics}
        )

    @hookimpl
    def on_fit_end(self, trainer: Any, state: TrainingState, result: Any) -> None:
        """Write how the fit ended and who asked for it, and make the table from all lines."""
        if self.path is None:
            return
        end = {"kind": "end", "step": state.step, "status": str(result.status)}
        if why := trainer.control.why("stop"):
            end["why"] = why
        self._append(end)
        table = self.path.with_suffix(".csv")
        write_text_atomically(table, as_table(read_records(self.path)))
        trainer.run.artifact("history", self.path)
        trainer.run.artifact("history", table)
        self.path = None

    def state_dict(self) -> dict[str, Any]:
        """Return how many lines belong to the state that is being saved, having made them durable."""
        if self.path is not None and self.path.exists():
            with self.path.open("rb+") as file:
                os.fsync(file.fileno())
        return {"written": self.written}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.restored = self.written = saved["written"]

    def _append(self, record: dict[str, Any]) -> None:
        # Evaluations outside a fit (the `evaluate` command) belong to no history.
        if self.path is None:
            return
        # Opened for each record: nothing stays open when a run dies, at some 30 microseconds a record.
        with self.path.open("a", encoding="utf-8") as file:
            file.write(as_line(record))
        self.written += 1
