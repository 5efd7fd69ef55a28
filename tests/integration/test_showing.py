"""What a result shows of whole runs: the course of one that was cut, a cross-validation's, and that of a run reread."""

from __future__ import annotations

import doctest
import importlib
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
import pytest

from stepbus import FitResult, TrainingResult, create_trainer, hookimpl
from stepbus.base.errors import Interrupted


class Cut:
    affects_result = False

    def __init__(self, *steps: int) -> None:
        self.steps = list(steps)
        self.cut: list[FitResult] = []

    @hookimpl
    def on_step_end(self, state: Any) -> None:
        if state.step in self.steps:
            self.steps.remove(state.step)
            signal.raise_signal(signal.SIGINT)

    @hookimpl
    def on_fit_end(self, result: FitResult) -> None:
        self.cut.append(result)


def test_the_course_of_a_run_that_was_cut_is_whole(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    matplotlib.use("Agg")
    whole = create_trainer(config=tiny_config(), output_dir=tmp_path / "whole").train()
    assert isinstance(whole, TrainingResult)
    assert whole.frame()["step"].tolist() == [3, 6, 9, 11, 12, 15, 18, 21, 22]
    cut = Cut(4, 13)
    trainer = create_trainer(config=tiny_config(), output_dir=tmp_path / "cut", plugins=[cut])
    for resume in (False, True):
        with pytest.raises(Interrupted, match=r"in Python with trainer\.train\(…, resume=True\)$"):
            trainer.train(resume=resume)
    result = trainer.train(resume=True)
    pd.testing.assert_frame_equal(result.frame(), whole.frame(), check_exact=True)
    again = create_trainer(config=tiny_config(), output_dir=tmp_path / "cut").train(resume=True)  # it is done
    pd.testing.assert_frame_equal(again.frame(), whole.frame(), check_exact=True)
    assert str(again).splitlines()[2:4] == str(whole).splitlines()[2:4]
    first = cut.cut[0]
    assert (first.status, first.frame()["step"].tolist()) == ("interrupted", [3])
    assert [axes.get_title() for axes in first.plot()] == ["loss"]
    matplotlib.pyplot.close("all")


def test_the_course_of_a_cross_validation(tiny_config: Callable[..., dict[str, Any]]) -> None:
    folds = {"progress": False, "cross_validation": {"folds": 2}}
    config = tiny_config(plugins=folds, data={"validation": None}, training={"num_epochs": 1})
    result = create_trainer(config=config).train()
    frame = result.frame()
    assert list(dict.fromkeys(frame["fit"])) == ["fold-1", "fold-2"]
    assert len(str(result).splitlines()) == 6
    for part in result.parts:
        own = frame[frame["fit"] == part.fit.name].drop(columns="fit").reset_index(drop=True)
        pd.testing.assert_frame_equal(own, part.frame())
        assert own["eval_loss"].dropna().tolist() == [record["eval_loss"] for record in part.history]


def test_what_is_logged_is_what_the_hook_was_told_without_the_clock(
    tiny_config: Callable[..., dict[str, Any]],
) -> None:
    class Note:
        @hookimpl
        def on_log(self, record: dict[str, Any]) -> None:
            told.append({name: value for name, value in record.items() if "_second" not in name})

    told: list[dict[str, Any]] = []
    result = create_trainer(config=tiny_config(), plugins=[Note()]).train()
    assert result.logged == told


@pytest.mark.parametrize("name", ["api.showing", "config.showing", "kernel.fits.drawing"])
def test_the_examples_of_what_is_shown_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(importlib.import_module(f"stepbus.{name}"))
    assert (found.failed, found.attempted > 0) == (0, True)
