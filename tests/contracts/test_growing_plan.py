"""The example of CONTRIBUTING.md, a plugin that grows the plan, runs as it stands."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stepbus.api.opening import open_trainer
from stepbus.cli.main import main
from stepbus.testing import assert_conforms, planned

CONTRIBUTING = Path(__file__).resolve().parents[2] / "CONTRIBUTING.md"


def block(name: str) -> str:
    found = re.search(rf"```\w+\n# {re.escape(name)}\n(.*?)```", CONTRIBUTING.read_text(), re.DOTALL)
    assert found is not None, name
    return found[1]


@pytest.fixture
def work(tmp_path: Path, minilm: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the example in it, and the tokenizer of a model that is at hand."""
    for name in ("seeds.py", "ensemble.yaml", "tiny.yaml"):
        text = re.sub(r"tokenizer: .*", f"tokenizer: {minilm}", block(name))
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_ensemble_trains_and_predicts_its_mean(work: Path) -> None:
    assert main(["train", "ensemble.yaml"]) == 0
    rows = pd.DataFrame({"mean radius": [10.0, 20.0], "mean texture": [15.0, 25.0]})
    rows.to_csv("rows.csv", index=False)
    assert main(["predict", "runs", "rows.csv", "--trust", "--output", "said.csv"]) == 0
    said = pd.read_csv("said.csv")
    each = [open_trainer(work / "runs" / "fits" / f"fit-seed-{n}").predict(rows) for n in range(2)]
    assert not np.array_equal(*each)
    named = [name for name in said.columns if name.startswith(("probability", "prob", "p_"))] or list(said.columns[-2:])
    np.testing.assert_allclose(said[named].to_numpy(), np.mean(each, axis=0), rtol=0, atol=1e-6)


def test_it_is_planned_and_conforms(work: Path) -> None:
    sys.modules.pop("seeds", None)
    sys.path.insert(0, str(work))
    try:
        from seeds import Seeds
    finally:
        sys.path.remove(str(work))
    assert [fit.name for fit in planned(Seeds)] == ["fit-seed-0", "fit-seed-1", "fit-seed-2"]
    assert_conforms(Seeds)
