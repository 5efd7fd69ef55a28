"""A command: `stepbus sparkline RUN` draws what a run logged as one line of blocks."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from stepbus import BadInput

BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float]) -> str:
    """Return numbers as a line of blocks, the least as the lowest block and the greatest as the highest."""
    least, span = min(values), max(values) - min(values)
    return "".join(BLOCKS[round((value - least) / span * (len(BLOCKS) - 1)) if span else 0] for value in values)


def logged(file: Path, field: str) -> list[float]:
    """Return one field of every record of a history.jsonl that has it as a number."""
    records = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    values = [record.get(field) for record in records if record["kind"] == "log"]
    return [float(value) for value in values if isinstance(value, int | float)]


def command(words: Sequence[str]) -> int:
    """Draw one field of each fit of a run, and return the exit code.

    Raises:
        BadInput: There is no history, or it has no such field; stepbus prints the sentence and exits with code 2.
    """
    parser = argparse.ArgumentParser(prog="stepbus sparkline", description="Draw what a run logged as one line.")
    parser.add_argument("run", metavar="RUN", type=Path, help="the folder of a run")
    parser.add_argument("--field", metavar="NAME", default="loss", help="what to draw (%(default)s)")
    arguments = parser.parse_args(words)
    files = sorted(arguments.run.rglob("history.jsonl"))
    if not files:
        raise BadInput(f"{arguments.run}: expected a folder with a history.jsonl in it; the plugin history writes one")
    for file in files:
        values = logged(file, arguments.field)
        if not values:
            raise BadInput(f"{file}: no log record has a number called {arguments.field!r}")
        print(f"{file.parent}  {sparkline(values)}  {values[0]:.4g} → {values[-1]:.4g}")
    return 0
