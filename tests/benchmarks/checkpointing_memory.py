"""What gradient checkpointing saves and costs: MLX's peak memory and seconds of an update, with and without.

    python tests/benchmarks/checkpointing_memory.py [--rows N] [--tokens N] [--updates N] [--pretrained NAME]

all-MiniLM-L6-v2 on rows of equal length, in a process of its own each time. The peak is that of the updates after the
first; beside it stands what was held before, which no checkpointing changes: weights and AdamW's state.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from stepbus import create_trainer, hookimpl, import_module, mx

HERE = Path(__file__)
PRETRAINED = import_module(str(HERE.parents[1] / "fixtures" / "minilm.py")).SOURCE


class Memory:
    """Keep the peak, what was held before an update, and the updates' seconds."""

    def __init__(self) -> None:
        self.held, self.seconds, self.loss = 0, [], 0.0

    @hookimpl
    def on_step_end(self, state: Any, step: Any) -> None:
        self.loss = step.loss
        if state.step == 1:  # it loads kernels, and makes the optimizer's copies
            self.held = mx.get_active_memory()
            mx.reset_peak_memory()
        else:
            self.seconds.append(step.seconds)


def one(checkpointing: bool, given: argparse.Namespace) -> dict[str, float]:
    """Train a few updates and return the figures."""
    import pandas

    rows = given.rows * given.updates
    texts = [" ".join(["film"] * (given.tokens - 2))] * rows
    frame = pandas.DataFrame({"text": texts, "label": [row % 2 for row in range(rows)]})
    with tempfile.TemporaryDirectory() as scratch:
        memory = Memory()
        plugins = {"checkpoint": {"save_strategy": "no"}, "progress": False, "predictions": False}
        tree = {
            "model": {"pretrained": given.pretrained},
            "data": {"label": "label", "batch_size": given.rows, "max_length": given.tokens, "cache": False},
            "training": {"num_epochs": 1, "eval_strategy": "no"},
            "plugins": {**plugins, **({"gradient_checkpointing": {}} if checkpointing else {})},
            "environment": {"output_dir": str(Path(scratch) / "run")},
        }
        create_trainer(config=tree, plugins=[memory]).train(frame)
    peak = mx.get_peak_memory()
    mib = 2.0**20
    seconds = sorted(memory.seconds)[len(memory.seconds) // 2]
    return {"held": memory.held / mib, "peak": peak / mib, "seconds": seconds, "loss": memory.loss}


def main() -> None:
    """Print the table, or one row as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--updates", type=int, default=5)
    parser.add_argument("--pretrained", default=PRETRAINED)
    parser.add_argument("--one", choices=("plain", "checkpointing"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one(given.one == "checkpointing", given)))
        return
    print("| | held | peak | an update | loss |\n|---|---|---|---|---|")
    for name in ("plain", "checkpointing"):
        command = [sys.executable, str(HERE), *sys.argv[1:], "--one", name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        row = json.loads(done.stdout.strip().splitlines()[-1])
        cells = f"{row['held']:.0f} MiB | {row['peak']:.0f} MiB | {row['seconds']:.2f} s | {row['loss']:.6f}"
        print(f"| {name} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
