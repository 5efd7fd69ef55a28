"""Fine-tune all-MiniLM-L6-v2 on sentences: speed, memory, traces and accuracy, beside a peer if one is named.

    python tests/benchmarks/fine_tuning.py FOLDER [EPOCHS] [--peer COMMAND]

FOLDER holds train.csv and dev.csv with the columns text and label (SST-2 at sentence level: 6,920 + 872). Batch 32, at
most 128 tokens, learning rate 5e-5, linear schedule with a tenth of warm-up, seed 42. COMMAND is run by a shell after
ours, in the same minutes, and prints one line of JSON with seq_s, rss_mb and accuracy. Sequences per second count the
whole loop, evaluations and tracing included; total_s counts the process.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from stepbus import import_module

PRETRAINED = import_module(str(Path(__file__).parents[1] / "fixtures" / "minilm.py")).SOURCE


def ours(folder: Path, epochs: int) -> dict[str, float]:
    """Train in a process of its own and return the figures."""
    with tempfile.TemporaryDirectory() as scratch:
        config = Path(scratch) / "run.yaml"
        tree = {
            "model": {"pretrained": PRETRAINED},
            "data": {
                "train": str(folder.resolve() / "train.csv"),
                "validation": str(folder.resolve() / "dev.csv"),
                "label": "label",
                "eval_batch_size": 64,
            },
            "scheduler": {"warmup_ratio": 0.1},
            "training": {"num_epochs": epochs, "log_steps": 50},
            "plugins": {"checkpoint": {"save_strategy": "no"}},
            "environment": {"output_dir": str(Path(scratch) / "run")},
        }
        config.write_text(json.dumps(tree))
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "stepbus.cli", "train", str(config)], check=True, stdout=sys.stderr)
        wall = time.perf_counter() - start
        result = json.loads((Path(scratch) / "run" / "result.json").read_text())
    rows = sum(1 for _ in (folder / "train.csv").open()) - 1
    return {
        "seq_s": rows * epochs / result["seconds"],
        "total_s": wall,
        "rss_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
        "traces": result["traces"],
        "accuracy": result["metrics"]["eval_accuracy"],
    }


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("epochs", type=int, nargs="?", default=2)
    arguments.add_argument("--peer", help="a command that prints one line of JSON")
    given = arguments.parse_args()
    rows = {"stepbus": ours(given.folder, given.epochs)}
    if given.peer:
        done = subprocess.run(given.peer, shell=True, check=True, stdout=subprocess.PIPE, text=True)
        rows["peer"] = json.loads(done.stdout.strip().splitlines()[-1])
    columns = ("seq_s", "total_s", "rss_mb", "traces", "accuracy")
    print(f"{os.cpu_count()} cores, {given.epochs} epochs")
    print(f"{'':<10}" + "".join(f"{name:>12}" for name in columns))
    for name, row in rows.items():
        cells = [f"{row[key]:.3f}" if key == "accuracy" else f"{row.get(key, float('nan')):.1f}" for key in columns]
        print(f"{name:<10}" + "".join(f"{cell:>12}" for cell in cells))
    if "peer" in rows:
        print(f"stepbus / peer: {rows['stepbus']['seq_s'] / rows['peer']['seq_s']:.2f} in sequences/s")


if __name__ == "__main__":
    main()
