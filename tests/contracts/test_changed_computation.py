"""The example of CONTRIBUTING.md, plugins that change what a step computes, runs as it stands and does what it says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from stepbus import create_trainer, hookimpl, import_module
from stepbus.cli.main import main
from stepbus.testing import assert_conforms

CONTRIBUTING = Path(__file__).resolve().parents[2] / "CONTRIBUTING.md"


def block(name: str) -> str:
    found = re.search(rf"```\w+\n# {re.escape(name)}\n(.*?)```", CONTRIBUTING.read_text(), re.DOTALL)
    assert found is not None, name
    return found[1]


@pytest.fixture
def work(tmp_path: Path, minilm: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the example in it, and the tokenizer of a model that is at hand."""
    for name in ("computation.py", "computation.yaml", "tiny.yaml"):
        (tmp_path / name).write_text(re.sub(r"tokenizer: .*", f"tokenizer: {minilm}", block(name)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_trains_on_the_command_line_and_logs_its_number(work: Path) -> None:
    assert main(["train", "computation.yaml"]) == 0
    lines = [json.loads(line) for line in (work / "runs/fits/fit/history.jsonl").read_text().splitlines()]
    entropies = [line["entropy"] for line in lines if "entropy" in line]
    assert entropies and all(0 < value <= np.log(2) + 1e-6 for value in entropies)


def test_what_is_exported_is_the_mean_of_the_weights(work: Path) -> None:
    class Weights:
        def __init__(self) -> None:
            self.seen: list[dict[str, Any]] = []

        @hookimpl
        def on_step_end(self, trainer: Any) -> None:
            self.seen.append({name: np.array(array) for name, array in tree_flatten(trainer.model.parameters())})

    weights = Weights()
    trainer = create_trainer(config=str(work / "computation.yaml"), plugins=[weights])
    trainer.train()
    ends = {name: np.array(array) for name, array in tree_flatten(trainer.model.parameters())}
    for name, array in ends.items():
        mean = np.mean([each[name] for each in weights.seen], axis=0, dtype=np.float64)
        np.testing.assert_allclose(array, mean, atol=2e-6, err_msg=name)


def test_the_gradient_is_taken_at_the_worst(work: Path) -> None:
    sharp = import_module(str(work / "computation.py")).SharpnessAware()

    def value_and_grad(parameters: Any, batch: Any) -> Any:  # of the loss x² / 2 + y²
        x, y = parameters["x"], parameters["y"]
        return x * x / 2 + y * y, mx.array(1.0), {}, {"x": x, "y": 2 * y}

    found = sharp.wrap_gradient(value_and_grad)({"x": mx.array(3.0), "y": mx.array(2.0)}, {})[3]
    # The gradient is (3, 4), of length 5: 0.05 further along it the weights are (3.03, 2.04).
    assert float(found["x"]) == pytest.approx(3.03) and float(found["y"]) == pytest.approx(4.08)


@pytest.mark.parametrize("name", ["ConfidencePenalty", "SharpnessAware", "RunningMean", "SlowEmbeddings"])
def test_each_keeps_the_rules(name: str, work: Path) -> None:
    assert_conforms(getattr(import_module(str(work / "computation.py")), name))
