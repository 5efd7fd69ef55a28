"""A small module trained on loaders, killed at steps and resumed; run as a script, because forking wants no used MLX.

python loader_points.py LOADER WINDOW CUTS FOLDER   CUTS: "6:KILL,9:TERM"; one line of JSON
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from kill_points import in_child
from safetensors.numpy import load_file

from stepbus import create_trainer, hookimpl
from stepbus.base.errors import Interrupted

Batch = dict[str, Any]
INPUTS = np.random.default_rng(1).standard_normal((100, 12)).astype(np.float32)
LABELS = (INPUTS[:, 0] > 0).astype(np.int32) + (INPUTS[:, 1] > 0)


def batches(random: np.random.Generator) -> Iterator[Batch]:
    """Yield 9 batches, the last one smaller, in the order of a generator."""
    order = random.permutation(len(LABELS))
    for start in range(0, len(LABELS), 12):
        rows = order[start : start + 12]
        yield {"x": INPUTS[rows], "labels": LABELS[rows], "weights": 1 + LABELS[rows] / 2}


class Stateful:
    """Its order depends on how often it was read."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(3)

    def __len__(self) -> int:
        return 9

    def __iter__(self) -> Iterator[Batch]:
        return batches(self.random)


class ByEpoch(Stateful):
    """It is told the epoch."""

    def set_epoch(self, epoch: int) -> None:
        self.random = np.random.default_rng(epoch)


LOADERS: dict[str, Any] = {
    "function": lambda: lambda epoch: batches(np.random.default_rng(epoch)),
    "list": lambda: list(batches(np.random.default_rng(5))),
    "stateful": Stateful,
    "by-epoch": ByEpoch,
}


class Kills:
    """Sends a signal to this process after a step."""

    affects_result = False

    def __init__(self, step: int, number: int) -> None:
        self.step, self.number = step, number

    @hookimpl(trylast=True)
    def on_step_end(self, state: Any) -> None:
        if state.step == self.step:
            os.kill(os.getpid(), self.number)


def train(loader: str, window: int, folder: Path, *, resume: bool, cut: tuple[int, int] = (0, 0)) -> None:
    import mlx.core as mx
    import mlx.nn as nn

    mx.random.seed(0)
    model = nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.Dropout(0.3), nn.Linear(16, 3))
    settings = {"checkpoint": {"save_steps": 4}, "early_stopping": {"patience": 20}, "progress": False}
    training = {"max_steps": 27 // window, "num_epochs": 3, "log_steps": 2, "gradient_accumulation_steps": window}
    trainer = create_trainer(
        model,
        loss=nn.losses.cross_entropy,
        output_dir=str(folder),
        training=training,
        plugins=[Kills(*cut)],
        **settings,
    )
    held_out = list(batches(np.random.default_rng(99)))
    try:
        trainer.train(LOADERS[loader](), held_out, resume=resume)
    except Interrupted as error:
        os._exit(error.exit_code)


def ends(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def facts(folder: Path) -> dict[str, Any]:
    lines = [json.loads(line) for line in (folder / "fits" / "fit" / "history.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("timing", None)
    arrays = load_file(folder / "model" / "model.safetensors")
    return {"history": lines, "weights": {name: array.tobytes().hex() for name, array in arrays.items()}}


def main(loader: str, window: int, cuts: list[tuple[int, int]], folder: Path) -> dict[str, Any]:
    whole, cut = folder / "whole", folder / "cut"
    codes = [ends(in_child(lambda: train(loader, window, whole, resume=False)))]
    for place, each in enumerate(cuts):

        def work(place: int = place, each: tuple[int, int] = each) -> None:
            train(loader, window, cut, resume=place > 0, cut=each)

        codes.append(ends(in_child(work)))
    codes.append(ends(in_child(lambda: train(loader, window, cut, resume=True))))
    return {"codes": codes, "same": facts(cut) == facts(whole), "steps": len(facts(whole)["history"])}


if __name__ == "__main__":
    name, size, words, where = sys.argv[1:]
    moments = [
        (int(step), int(signal.Signals[f"SIG{kind}"])) for step, kind in (each.split(":") for each in words.split(","))
    ]
    print(json.dumps(main(name, int(size), moments, Path(where))))
