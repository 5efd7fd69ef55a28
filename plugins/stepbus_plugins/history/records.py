"""The lines of a history: strict JSON, read back as far as a kill or a power loss left them, and as a table."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

from stepbus import StepbusError

_INNER = ("timing", "not_finite")  # what a line keeps apart
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


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


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
            record = json.loads(line, parse_constant=_no_number)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            raise StepbusError(f"{path}:{number}: expected a JSON object; move the file away to begin a new history")
        records.append(record)
    return records


def salvage(path: Path) -> list[dict[str, Any] | None]:
    """Return what can be read of a history.jsonl, line by line: a record, or None for a line that is damaged.

    Args:
        path: The file; a missing one has no lines.
    """
    if not path.exists():
        return []
    *lines, tail = path.read_bytes().split(b"\n")
    records = [_record(line) for line in lines]
    # A whole record whose newline alone is missing counts; what else follows the last newline was torn by a kill.
    return [*records, record] if (record := _record(tail)) else records


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(record, dict) and all(
        isinstance(record.get(name, {}), dict) for name in ("timing", "not_finite")
    )
    return record if whole else None


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
