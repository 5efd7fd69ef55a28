"""A plan of fits: its axes, its groups, its lineage, and the ledger that keeps what is finished."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from attrs import evolve

from stepbus import CheckpointError, Fit, FitResult, Predictions, Rows
from stepbus.kernel.fits import groups_along, grown_axes
from stepbus.kernel.state import Best
from stepbus.run import ledger


def rows(*ids: str) -> Rows:
    frame = pd.DataFrame({"text": list(ids)})
    return Rows(frame, np.array(ids, dtype=object), "frame", "train", np.arange(1, len(ids) + 1))


def fit(name: str, **scope: int) -> Fit:
    return Fit(name, {"train": rows("a", "b"), "stop": rows("c"), "validation": rows("d")}, 1, scope)


def test_axes_are_combined_from_the_inside_out() -> None:
    fits = [fit(f"{member}-{fold}", member=member, fold=fold) for member in (0, 1) for fold in (0, 1, 2)]
    assert grown_axes(fits) == ["fold", "member"]
    assert grown_axes([fit("fit")]) == []
    groups = groups_along("fold", [FitResult(each) for each in fits])
    assert [[result.fit.name for result in group] for group in groups] == [
        ["0-0", "0-1", "0-2"],
        ["1-0", "1-1", "1-2"],
    ]


def test_a_set_that_decides_is_monitored() -> None:
    assert fit("fit").monitored == "stop"


@pytest.fixture
def result(tmp_path: Path) -> FitResult:
    predictions = Predictions(np.array(["d", "ö"], dtype=object), np.array([[0.25, 0.75]] * 2), np.array([1, 0]))
    found = FitResult(fit("fold-1", fold=0), "stopped", {"eval_loss": float("nan")}, {"validation": predictions})
    found.directory, found.best, found.steps = tmp_path, Best("eval_loss", 0.5, 3), 9
    return found


def test_the_ledger_gives_back_what_it_kept(result: FitResult, tmp_path: Path) -> None:
    ledger.write(tmp_path, result, "run-1")
    again = ledger.read(tmp_path, result.fit, "run-1")
    assert again is not None
    assert (again.status, again.best, again.steps) == ("stopped", result.best, 9)
    assert np.isnan(again.metrics["eval_loss"])
    kept, given = again.predictions["validation"], result.predictions["validation"]
    assert kept.row_ids.tolist() == ["d", "ö"]
    np.testing.assert_array_equal(kept.values, given.values)
    np.testing.assert_array_equal(kept.labels, given.labels)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"run": "run-2"}, r"expected the result of fold-1 of this run, got that of fold-1 of another run; remove it"),
        ({"fit": fit("fold-2", fold=1)}, r"expected the result of fold-2 of this run, got that of fold-1; remove it"),
    ],
)
def test_the_ledger_knows_whose_result_it_is(
    change: dict[str, Any], words: str, result: FitResult, tmp_path: Path
) -> None:
    ledger.write(tmp_path, result, "run-1")
    with pytest.raises(CheckpointError, match=words):
        ledger.read(tmp_path, change.get("fit", result.fit), change.get("run", "run-1"))


def test_a_result_under_another_seed_is_not_taken(result: FitResult, tmp_path: Path) -> None:
    """The seed of a run can only change with --allow-changed."""
    ledger.write(tmp_path, result, "run-1")
    assert ledger.read(tmp_path, evolve(result.fit, seed=2), "run-1") is None


def test_an_unfinished_fit_has_no_result(result: FitResult, tmp_path: Path) -> None:
    assert ledger.read(tmp_path, result.fit, "run-1") is None


@pytest.mark.parametrize("name", ["result.json", "predictions.npz"])
def test_a_damaged_result_is_an_error_that_names_it(name: str, result: FitResult, tmp_path: Path) -> None:
    ledger.write(tmp_path, result, "run-1")
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    what = "it" if name == "result.json" else f"{tmp_path / name} and {tmp_path / 'result.json'}"
    with pytest.raises(CheckpointError, match=rf"{name}: .*; remove {what} to do this fit again"):
        ledger.read(tmp_path, result.fit, "run-1")


def test_the_ledger_reads_no_pickle(result: FitResult, tmp_path: Path) -> None:
    ledger.write(tmp_path, result, "run-1")
    np.savez(tmp_path / "predictions.npz", **{"validation/row_ids": np.array([object()], dtype=object)})
    with pytest.raises(CheckpointError):
        ledger.read(tmp_path, result.fit, "run-1")
