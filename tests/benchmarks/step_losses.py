"""The loss of every update of a run at a fixed seed, as hexadecimal floats: a change to the engine must keep them.

    python tests/benchmarks/step_losses.py configs/quickstart.yaml > before.json
    python tests/benchmarks/step_losses.py configs/quickstart.yaml --before before.json

The second form prints nothing but the number of updates whose losses agree, and ends with 1 where one does not.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from stepbus import create_trainer, hookimpl


class StepLosses:
    """Keep the loss of every update as a hexadecimal float."""

    def __init__(self) -> None:
        self.found: list[str] = []

    @hookimpl
    def on_step_end(self, step: Any) -> None:
        self.found.append(float(step.loss).hex())


def step_losses(config: str, **overrides: Any) -> dict[str, Any]:
    """Return the losses of a configuration's run, and what their last bits depend on."""
    losses = StepLosses()
    with tempfile.TemporaryDirectory() as folder:
        trainer = create_trainer(
            config=config, plugins=[losses], environment__output_dir=str(Path(folder) / "run"), **overrides
        )
        result = trainer.train()
    return {"conditions": result.conditions, "losses": losses.found, "metrics": result.metrics}


def main() -> int:
    """Print the losses of a run, or compare them with those of an earlier one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="a YAML file")
    parser.add_argument("overrides", nargs="*", help="section__name=value")
    parser.add_argument("--before", type=Path, help="what an earlier call printed")
    given = parser.parse_args()
    overrides = {name: json.loads(value) for name, value in (pair.split("=", 1) for pair in given.overrides)}
    sys.stdout, terminal = sys.stderr, sys.stdout  # a run may tell its progress
    found = step_losses(given.config, **overrides)
    if given.before is None:
        print(json.dumps(found, indent=1, default=str), file=terminal)
        return 0
    before = json.loads(given.before.read_text())["losses"]
    same = sum(one == other for one, other in zip(before, found["losses"], strict=False))
    print(f"{same} of {len(before)} losses are the same bits; {len(found['losses'])} updates", file=terminal)
    return int(before != found["losses"])


if __name__ == "__main__":
    raise SystemExit(main())
