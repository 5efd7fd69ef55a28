"""Plans of several rounds, killed at chosen moments; run as a script: it forks where MLX was imported and never used.

python round_points.py CONFIG FOLDER FIT HOOK STEP ...   kill in a hook of a fit at a step, for each such three in one
run after the other; one line of JSON with what the run that was never killed and the killed one came to
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

# What a child would otherwise import for itself.
import pandas as pandas
import pyarrow as pyarrow
import tokenizers as tokenizers
from kill_points import in_child
from sklearn import metrics as metrics

from stepbus import Trainer, hookimpl, load_config


class Kills:
    """Kill the process in a hook of a fit, at a step."""

    scope = "run"
    affects_result = False

    def __init__(self, fit: str, hook: str, step: int) -> None:
        self.fit, self.hook, self.step = fit, hook, step

    def _die(self, hook: str, fit: str, step: int) -> None:
        if (hook, fit, step) == (self.hook, self.fit, self.step):
            os.kill(os.getpid(), signal.SIGKILL)

    @hookimpl
    def on_fit_start(self, trainer: Any, state: Any) -> None:
        self._die("on_fit_start", trainer.fit_name, state.step)

    @hookimpl
    def on_step_end(self, trainer: Any, state: Any) -> None:
        self._die("on_step_end", trainer.fit_name, state.step)

    @hookimpl
    def on_checkpoint(self, trainer: Any, checkpoint: Path) -> None:
        self._die("on_checkpoint", trainer.fit_name, int(checkpoint.name[5:]))

    @hookimpl
    def on_fit_end(self, trainer: Any, state: Any) -> None:
        self._die("on_fit_end", trainer.fit_name, state.step)

    @hookimpl
    def on_run_end(self) -> None:
        self._die("on_run_end", "", 0)


def train(config: dict[str, Any], folder: Path, place: tuple[str, str, int] | None, *, resume: bool) -> None:
    """Do a run or go on with it, to its end or to where it is killed."""
    plugins = [Kills(*place)] if place else []
    trainer = Trainer(load_config({**config, "environment": {"output_dir": str(folder)}}), plugins=plugins)
    result = trainer.train(resume=resume)
    values = {name: said.values.tobytes().hex() for name, said in result.predictions.items()}
    fits = [each.fit for part in result.parts for each in (part.parts or (part,))]
    rows = {fit.name: len(fit.sets["train"]) for fit in fits}
    found = {"metrics": result.metrics, "predictions": values, "rows": rows}
    (folder.parent / "result.txt").write_text(json.dumps(found, sort_keys=True))


def facts(run: Path) -> dict[str, Any]:
    """Return what a run came to: its result, and digests of its models and of what each fit predicted."""
    import numpy as np

    found: dict[str, Any] = {"result": (run.parent / "result.txt").read_text()}
    for path in sorted(run.rglob("model/model.safetensors")):
        found[str(path.relative_to(run))] = hashlib.sha256(path.read_bytes()).hexdigest()
    for path in sorted(run.rglob("predictions.npz")):
        with np.load(path, allow_pickle=False) as saved:
            arrays = {name: hashlib.sha256(saved[name].tobytes()).hexdigest() for name in saved.files}
        found[str(path.relative_to(run))] = arrays
    return found


def ended(work: Any) -> int:
    """Do something in a child; return what ended it: a signal's number, negative, or an exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(in_child(work), 0)[1])


if __name__ == "__main__":
    config_file, where, *words = sys.argv[1:]
    settings = json.loads(Path(config_file).read_text())
    whole, killed = Path(where) / "whole" / "run", Path(where) / "killed" / "run"
    assert ended(lambda: train(settings, whole, None, resume=False)) == 0
    codes = []
    for number in range(0, len(words), 3):
        place = (words[number], words[number + 1], int(words[number + 2]))
        codes.append(ended(functools.partial(train, settings, killed, place, resume=killed.exists())))
    last = ended(lambda: train(settings, killed, None, resume=True))
    print(json.dumps({"codes": codes, "last": last, "whole": facts(whole), "killed": facts(killed)}))
