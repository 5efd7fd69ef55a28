"""Whole runs of a tiny model, killed or raced; run as a script: it forks where MLX was imported and never used.

python run_points.py kills SCENARIO FIRST EVERY CONFIG FOLDER   kill before each file operation; one line of JSON each
python run_points.py pairs COUNT SEED CONFIG FOLDER             start two runs into one folder; one line of JSON a pair
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# What a child would otherwise import for itself.
import pandas as pandas
import pyarrow as pyarrow
import tokenizers as tokenizers
from kill_points import die_before, in_child
from safetensors.numpy import load_file
from sklearn import metrics as metrics

from stepbus import Trainer, load_config

STALE = (".tmp-", ".old-", ".trash-", ".replaced-")


def train(config: dict[str, Any], folder: Path, *, resume: bool = False, kill_at: int = 0) -> Path:
    """Do a run, killed before the file operation with a number; return its folder."""
    trainer = Trainer(load_config({**config, "environment": {"output_dir": str(folder)}}))
    die_before(kill_at)
    return Path(trainer.train(resume=resume).directory)


def ends(child: int) -> int:
    """Wait for a child; return the signal that ended it, or its exit code."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in (0, -signal.SIGKILL):
        raise SystemExit(f"a child ended with {code}")
    return code


def facts(run: Path) -> dict[str, Any]:
    """Return what two runs of the same configuration have in common, as text."""
    fits = sorted(path.parent for path in run.rglob("result.json"))
    lines = [json.loads(line) for fit in fits for line in (fit / "history.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("timing", None)
    weights = {
        f"{fit.relative_to(run)}/{name}": array.tobytes().hex()
        for fit in fits
        for name, array in load_file(fit / "model" / "model.safetensors").items()
    }
    return {"weights": weights, "history": lines, "names": sorted({path.name for path in run.iterdir()})}


def prepared(scenario: str, config: dict[str, Any], folder: Path) -> tuple[Path | None, bool]:
    """Return a run to begin with, or None, and whether it is to be resumed."""
    if scenario == "fresh":
        return None, False
    template = folder / "template"
    ends(in_child(lambda: print(train(config, template), file=sys.stderr)))
    # Killed at its very end: the model is there already, and is written again.
    (template / "fits" / "fit" / "result.json").unlink()
    return template, True


def kills(scenario: str, first: int, every: int, config: dict[str, Any], folder: Path) -> Iterator[dict[str, Any]]:
    whole = folder / "whole" / "run"
    ends(in_child(lambda: print(train(config, whole), file=sys.stderr)))
    expected = facts(whole)
    template, resume = prepared(scenario, config, folder)
    number, killed = first, True
    while killed:
        run = folder / f"at-{number}" / "run"
        if template is not None:
            shutil.copytree(template, run)

        def work(run: Path = run, number: int = number) -> None:
            train(config, run, resume=resume, kill_at=number)

        killed = ends(in_child(work)) == -signal.SIGKILL
        begun = (run / "run.json").exists()
        went_on = run

        def go_on(run: Path = run, begun: bool = begun) -> None:
            train(config, run, resume=begun)

        ends(in_child(go_on))
        yield {
            "operation": number,
            "killed": killed,
            "begun": begun,
            "siblings": sorted(path.name for path in run.parent.iterdir()),
            "left": sorted(path.name for path in went_on.rglob(".*") if path.name.startswith(STALE)),
            "same": facts(went_on) == expected,
        }
        shutil.rmtree(run.parent)
        number += every


def pairs(count: int, seed: int, config: dict[str, Any], folder: Path) -> Iterator[dict[str, Any]]:
    moments = random.Random(seed)
    for number in range(count):
        inside = folder / f"pair-{number}"
        inside.mkdir()

        def work(inside: Path = inside) -> None:
            # A child says where it went and how far it came.
            directory = train(config, inside / "run")
            (inside / f"{os.getpid()}.txt").write_text(directory.name)

        children = [in_child(work)]
        apart = moments.choice([0.0, moments.uniform(0, 0.1), moments.uniform(0, 1.5)])
        time.sleep(apart)
        children.append(in_child(work))
        for child in children:
            ends(child)
        went = [(inside / f"{child}.txt").read_text() for child in children]
        ids = [json.loads((inside / name / "run.json").read_text())["id"] for name in went]
        ends_of = [
            (inside / name / "fits" / "fit" / "history.jsonl").read_text().count('"kind": "end"') for name in went
        ]
        results = [json.loads((inside / name / "fits" / "fit" / "result.json").read_text())["run"] for name in went]
        yield {
            "apart": round(apart, 4),
            "went": went,
            "folders": sorted(path.name for path in inside.iterdir() if path.is_dir()),
            "own": ids == results and len(set(ids)) == 2 and ends_of == [1, 1],
        }
        shutil.rmtree(inside)


if __name__ == "__main__":
    *words, config_file, where = sys.argv[1:]
    settings = json.loads(Path(config_file).read_text())
    if words[0] == "kills":
        found = kills(words[1], int(words[2]), int(words[3]), settings, Path(where))
    else:
        found = pairs(int(words[1]), int(words[2]), settings, Path(where))
    for line in found:
        print(json.dumps(line), flush=True)
