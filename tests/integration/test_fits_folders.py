"""Where a run keeps its fits, and a run of before, whose only fit lies in its own folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepbus import CheckpointError, create_trainer, open_trainer
from stepbus.cli.main import main


@pytest.fixture
def run(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> Path:
    result = create_trainer(config=tiny_config(training={"max_steps": 2})).train()
    assert result.directory == tmp_path / "run"
    assert result.model_path == tmp_path / "run" / "fits" / "fit" / "model"
    return tmp_path / "run"


def test_a_run_of_one_fit_has_a_folder_of_its_fit_and_a_link_to_its_model(run: Path) -> None:
    assert sorted(path.name for path in run.iterdir()) == [
        ".lock", "config.yaml", "delivered.json", "fits", "model", "predict.json", "run.json"
    ]  # fmt: skip
    assert (run / "model").readlink() == Path("fits/fit/model")
    expected = {"fit.json", "rows.npz", "result.json", "predictions.npz", "model", "checkpoints"}
    expected |= {"confusion_matrix.csv", "per_class.csv"}
    assert expected | {"history.jsonl", "history.csv"} == {path.name for path in (run / "fits" / "fit").iterdir()}


def test_every_name_of_it_predicts_the_same(run: Path, tmp_path: Path) -> None:
    data = tmp_path / "dev.csv"
    newest = sorted((run / "fits" / "fit" / "checkpoints").glob("step-*"))[-1]
    places = [run, run / "model", run / "fits" / "fit", run / "fits" / "fit" / "model", newest]
    found = [open_trainer(place).predict(data) for place in places]
    assert all(np.array_equal(each, found[0]) for each in found)
    for number, place in enumerate(places):
        assert main(["predict", str(place), str(data), "--output", str(tmp_path / f"{number}.csv")]) == 0
    assert len({(tmp_path / f"{number}.csv").read_bytes() for number in range(len(places))}) == 1


def test_a_run_goes_on_by_every_name_of_it(
    run: Path, tiny_config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    tree = tiny_config(training={"max_steps": 2})
    fit = run / "fits" / "fit"
    for name in (True, run, fit, fit / "checkpoints" / "step-00000002"):
        (fit / "result.json").unlink()
        assert create_trainer(config=tree).train(resume=name).steps == 2
    (run / "model").unlink()
    create_trainer(config=tree).train(resume=True)
    assert (run / "model").readlink() == Path("fits/fit/model")
    (run / "model").unlink()
    (run / "model").mkdir()
    assert create_trainer(config=tree).train(resume=True).model_path == fit / "model"
    assert list((run / "model").iterdir()) == []
    with pytest.raises(CheckpointError, match=r"run/model: nothing to resume from; expected a run \(.*a fit's folder"):
        create_trainer(config=tree).train(resume=run / "model")


def test_a_run_of_before_opens_and_does_not_go_on(
    run: Path, tiny_config: Callable[..., dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = open_trainer(run).predict(tmp_path / "dev.csv")
    (run / "model").unlink()
    for path in (run / "fits" / "fit").iterdir():
        path.rename(run / path.name)
    shutil.rmtree(run / "fits")
    for name in ("fit.json", "rows.npz", "delivered.json", "predict.json"):
        (run / name).unlink()
    assert np.array_equal(open_trainer(run).predict(tmp_path / "dev.csv"), expected)
    before = sorted(run.rglob("*"))
    with pytest.raises(CheckpointError, match="run: this run was written by an older stepbus, whose fit lies in"):
        create_trainer(config=tiny_config(training={"max_steps": 2})).train(resume=True)
    assert sorted(run.rglob("*")) == before
