"""Each technique alone, and as many as go together, on sentences: dev accuracy, speed and memory beside the plain run.

    python tests/benchmarks/techniques.py FOLDER [--rows N] [--epochs N] [--only NAME …] [--json FILE]

FOLDER holds train.csv and dev.csv with the columns text and label (SST-2 at sentence level). all-MiniLM-L6-v2, batch
32, at most 128 tokens, learning rate 5e-5, linear schedule with a tenth of warm-up, seed 42. Each run is a process of
its own. Sequences per second count the updates alone, without evaluations; a plain run stands before and after, so that
the table says how far the machine drifted. Memory is the largest of the process, less what its start took.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from stepbus import create_trainer, hookimpl, import_module

HERE = Path(__file__)
PRETRAINED = import_module(str(HERE.parents[1] / "fixtures" / "minilm.py")).SOURCE

# As the tests have them, but with what fits a pretrained model and two epochs.
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "weighted_layers": {"model": {"pooling": "weighted_layers"}},
    "last_four": {"model": {"pooling": "last_four"}},
    "freeze": {"plugins": {"freeze": {"embeddings": True, "layers": 2}}},
    "gradual_unfreezing": {"plugins": {"freeze": {"gradual": True, "unfreeze_every": 30, "unfreeze_by": "updates"}}},
    "gradient_checkpointing": {"plugins": {"gradient_checkpointing": {}}},
    "lora": {"plugins": {"lora": {"rank": 8, "alpha": 16.0}}, "optimizer": {"learning_rate": 5e-4}},
    "reinitialize": {"plugins": {"reinitialize": {"layers": 1}}},
    "layerwise_decay": {"plugins": {"layerwise_decay": {"decay": 0.9, "head_scale": 2.0}}},
    "label_smoothing": {"loss": {"type": "cross_entropy", "label_smoothing": 0.1}},
    "focal": {"loss": {"type": "focal", "gamma": 2.0}},
    "rdrop": {"plugins": {"rdrop": {}}},
    "multi_sample_dropout": {"plugins": {"multi_sample_dropout": {}}},
    "fgm": {"plugins": {"adversarial_training": {"mode": "fgm"}}},
    "awp": {"plugins": {"adversarial_training": {"mode": "awp"}}},
    "ema": {"plugins": {"ema": {"decay": 0.99}}},
    "swa": {"plugins": {"swa": {"from_epoch": 1, "every": 20}}},
    "schedule_free": {
        "optimizer": {"type": "schedule_free"},
        "scheduler": {"type": "constant", "warmup_ratio": 0.1},
    },
    "together": {},
    "plain again": {},
}
TOGETHER = (
    "weighted_layers", "gradual_unfreezing", "gradient_checkpointing", "reinitialize", "layerwise_decay",
    "label_smoothing", "rdrop", "multi_sample_dropout", "fgm", "ema",
)  # fmt: skip


class Pace:
    """Count the seconds and the rows of the updates."""

    def __init__(self) -> None:
        self.seconds, self.rows, self.steps = 0.0, 0, 0

    @hookimpl
    def on_step_end(self, step: Any) -> None:
        self.steps += 1
        if self.steps > 1:  # the first one loads kernels
            self.seconds += step.seconds
            self.rows += step.sequences


def laid_over(tree: dict[str, Any], *others: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with others laid over its sections."""
    found = dict(tree)
    for other in others:
        for section, settings in other.items():
            found[section] = {**found.get(section, {}), **settings}
    return found


def one(name: str, folder: Path, rows: int, epochs: int) -> dict[str, float]:
    """Train once and return the figures."""
    import pandas

    frame = pandas.read_csv(folder / "train.csv").head(rows or None) if rows else str(folder / "train.csv")
    with tempfile.TemporaryDirectory() as scratch:
        tree = {
            "model": {"pretrained": PRETRAINED},
            "data": {"label": "label", "eval_batch_size": 64},
            "scheduler": {"warmup_ratio": 0.1},
            "training": {"num_epochs": epochs, "log_steps": 50},
            "plugins": {"checkpoint": {"save_strategy": "no"}, "progress": False, "predictions": False},
            "environment": {"output_dir": str(Path(scratch) / "run")},
        }
        others = [SETTINGS[each] for each in TOGETHER] if name == "together" else [SETTINGS[name]]
        pace = Pace()
        trainer = create_trainer(config=laid_over(tree, *others), plugins=[pace])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        result = trainer.train(frame, str(folder / "dev.csv"))
    return {
        "accuracy": result.metrics["eval_accuracy"],
        "loss": result.metrics["eval_loss"],
        "seq_s": pace.rows / pace.seconds,
        "mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
        "steps": result.steps,
        "traces": result.traces,
    }


def main() -> None:
    """Print the table, or one row as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=0, help="training rows; all without it")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--json", type=Path, help="where to write the figures too")
    parser.add_argument("--one", choices=SETTINGS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        sys.stdout, terminal = sys.stderr, sys.stdout
        print(json.dumps(one(given.one, given.folder, given.rows, given.epochs)), file=terminal)
        return
    found: dict[str, dict[str, float]] = {}
    print("| technique | dev accuracy | eval loss | sequences/s | beside plain | peak memory | traces |")
    print("|---|---|---|---|---|---|---|")
    for name in given.only:
        command = [sys.executable, str(HERE), str(given.folder), "--rows", str(given.rows), "--one", name]
        command += ["--epochs", str(given.epochs)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"| {name} | {(done.stderr.strip().splitlines() or ['failed'])[-1]} |")
            continue
        row = found[name] = json.loads(done.stdout.strip().splitlines()[-1])
        ratio = row["seq_s"] / found.get("plain", row)["seq_s"]
        cells = [name, f"{row['accuracy']:.4f}", f"{row['loss']:.4f}", f"{row['seq_s']:.0f}", f"{ratio:.2f}"]
        print(f"| {' | '.join(cells)} | {row['mb']:.0f} MB | {row['traces']} |", flush=True)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
