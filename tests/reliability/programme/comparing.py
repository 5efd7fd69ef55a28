"""What a run came to, as one flat table of texts, and where two runs differ; it needs no MLX."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from recording import JOURNAL, without_clock

MOST = 6  # differences that are named


def facts(run: Path) -> dict[str, str]:
    """Return everything that a finished run did and left.

    Args:
        run: Its folder, with the journal beside it.
    """
    return {**dict(_of_journal(run.parent / JOURNAL)), **left(run)}


def left(run: Path) -> dict[str, str]:
    """Return what a finished run left: exported models, predictions, histories, results.

    Args:
        run: Its folder.
    """
    found: dict[str, str] = {}
    for path in sorted(run.glob("fits/*/model/**/*")):
        if path.is_file():
            content = _described(path) if path.name == "stepbus.json" else path.read_bytes()
            found[f"file {path.relative_to(run)}"] = hashlib.sha256(content).hexdigest()[:16]
    for path in sorted(run.glob("fits/*/predictions.npz")):
        with np.load(path, allow_pickle=False) as saved:
            for name in saved.files:
                content = hashlib.sha256(saved[name].tobytes()).hexdigest()[:16]
                found[f"file {path.relative_to(run)} {name}"] = content
    for path in sorted(run.glob("fits/*/history.jsonl")):
        records = [without_clock(json.loads(line)) for line in path.read_text().splitlines()]
        for number, record in enumerate(records):
            found[f"file {path.relative_to(run)} {number}"] = json.dumps(record, sort_keys=True)
    for path in sorted(run.glob("fits/*/result.json")):
        result = json.loads(path.read_text())
        for name in ("metrics", "steps", "best", "history", "status"):
            found[f"file {path.relative_to(run)} {name}"] = json.dumps(without_clock(result[name]), sort_keys=True)
    for path in sorted(run.glob("out_of_fold*.csv")):
        found[f"file {path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return found


def differences(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Return what of two runs differs, in words, the first things first."""
    return [
        f"{name}: {one.get(name, 'nothing')} | {other.get(name, 'nothing')}"
        for name in [*one, *(name for name in other if name not in one)]
        if one.get(name) != other.get(name)
    ]


def said(found: list[str]) -> str:
    """Return differences as a message, or nothing."""
    more = f"\n… and {len(found) - MOST} more" if len(found) > MOST else ""
    return "\n".join(each[:400] for each in found[:MOST]) + more


def _described(path: Path) -> bytes:
    """Return what a model's description says, without who looked on and when checkpoints were written."""
    document = json.loads(path.read_text())
    for name in ("plugins", "digest"):
        document.pop(name, None)
    document["config"].pop("plugins", None)
    return json.dumps(document, sort_keys=True).encode()


def _of_journal(path: Path) -> Iterator[tuple[str, str]]:
    """Yield what the lines say; where a cut made a run do something again, both have to be the same."""
    seen: dict[str, str] = {}
    for line in path.read_text().split("\n"):
        try:
            read = json.loads(line)
        except ValueError:
            continue  # torn by a kill
        where = f"{read.pop('fit')} {read.pop('step')} {read.pop('kind')}"
        for name, value in _flat(where, read):
            if seen.setdefault(name, value) != value:
                value = f"first {seen[name]}, then {value}"
            seen[name] = value
    yield from seen.items()


def _flat(where: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for name, each in value.items():
            yield from _flat(f"{where} {name}", each)
    else:
        yield where, json.dumps(value, sort_keys=True)
