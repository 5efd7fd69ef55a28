"""Cross-validations that are killed at a point and resumed; what a tracker wrote and remembered.

python delivery_points.py CONFIG FOLDER POINT…     one line of JSON for each point: "before keep 1", "after step 3"
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

# What a child would otherwise import for itself.
import pandas as pandas
import tokenizers as tokenizers
from kill_points import in_child
from sklearn import metrics as metrics

from stepbus import create_trainer, hookimpl, import_module
from stepbus.run import ledger
from stepbus.run.keeping.delivery import Deliveries

CountResults = import_module(str(Path(__file__).parents[1] / "fixtures" / "tracker.py")).CountResults
PLACES = {
    "keep": (ledger, "write"),
    "note_end": (Deliveries, "note_end"),
    "note_told": (Deliveries, "note_told"),
    "step": (CountResults, "on_step_end"),
}


def train(tree: dict[str, Any], lines: Path, *, resume: bool = False) -> None:
    """Do a run whose tracker writes to a file."""
    tracker = type("CountResults", (CountResults,), {"lines": lines})
    create_trainer(config=tree, plugins=[tracker]).train(resume=resume)


def dying(owner: Any, method: str, when: str, number: int) -> None:
    """Have this process killed before or after the n-th call of a function."""
    original, calls = getattr(owner, method), 0

    def dies(*arguments: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments, **more)
        if calls == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    @hookimpl
    def hook(self: Any) -> None:  # whose arguments have names
        dies(self)

    setattr(owner, method, hook if owner is CountResults else dies)


def at(point: str, tree: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return what came of a run that is killed at a point, or at one after the other, and then resumed."""
    tree = {**tree, "environment": {"output_dir": str(folder / "run")}}
    lines = folder / "lines.txt"
    ends = []
    for stop in [*point.split(", "), ""]:

        def work(stop: str = stop) -> None:
            if stop:
                when, name, number = stop.split()
                dying(*PLACES[name], when, int(number))
            train(tree, lines, resume=(folder / "run" / "run.json").exists())

        ends.append(os.waitstatus_to_exitcode(os.waitpid(in_child(work), 0)[1]))
    return {"point": point, "ends": ends, "lines": lines.read_text().splitlines()}


if __name__ == "__main__":
    settings = json.loads(Path(sys.argv[1]).read_text())
    for place, stops in enumerate(sys.argv[3:]):
        print(json.dumps(at(stops, settings, Path(sys.argv[2]) / str(place))), flush=True)
