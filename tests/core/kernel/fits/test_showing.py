"""What a result shows of itself: six lines whatever it holds, escaped in a notebook, short among other values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from stepbus import Fit, FitResult
from stepbus.kernel import Best

NAMES = ["status", "steps", "best", "metrics", "folder", "next"]


def a_result(**fields: Any) -> FitResult:
    return FitResult(Fit("fit", {"train": []}, 1), **fields)


def lines(result: FitResult) -> dict[str, str]:
    found = str(result).split("\n")
    assert [line[:7].rstrip() for line in found] == NAMES
    assert len(str(result).splitlines()) == 6
    return {line[:7].rstrip(): line[9:] for line in found}


def test_six_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs-2"
    result = a_result(
        metrics={"eval_loss": 0.25, "eval_accuracy": 1.0, "eval_rows": 3, "eval_mse": 123456.0},
        best=Best("eval_loss", 0.125, 1100),
        history=[{"step": 2200, "epoch": 2.0, "eval_loss": 0.25}],
        steps=2200,
        seconds=3661.0,
        directory=folder,
        model_path=folder / "model",
        next_command="stepbus predict runs-2 FILE",
    )
    assert lines(result) == {
        "status": "ok",
        "steps": "2,200 in 1:01:01",
        "best": "eval_loss 0.1250 at step 1,100",
        "metrics": "eval_loss 0.2500, eval_accuracy 1.0000, eval_rows 3, eval_mse 1.23e+05",
        "folder": "runs-2 (model: runs-2/model)",
        "next": "trainer.predict(rows), or: stepbus predict runs-2 FILE",
    }
    assert repr(result) == "<FitResult fit: ok, 2,200 steps, eval_loss 0.2500>"


def test_updates_that_changed_nothing_are_counted() -> None:
    parts = (a_result(skipped=2, first_skipped=7, steps=10), a_result(steps=10), a_result(skipped=1, steps=10))
    said = "10 in 0:00; 2 of them changed nothing, the first at step 7"
    assert lines(parts[0])["steps"] == said
    assert lines(parts[1])["steps"] == "10 in 0:00"
    assert lines(parts[2])["steps"] == "10 in 0:00; 1 of them changed nothing"
    assert lines(a_result(steps=30, parts=parts))["steps"] == "30 in 0:00; 3 of them changed nothing"


def test_evaluations_of_which_none_is_a_number_are_no_missing_ones() -> None:
    part = a_result(history=[{"step": 5, "eval_loss": float("nan")}])
    for result in (part, a_result(parts=(part,))):
        assert lines(result)["best"] == "none: no evaluation counts as it"


def test_nothing_in_it() -> None:
    assert lines(a_result()) == {
        "status": "ok",
        "steps": "0 in 0:00",
        "best": "none: nothing was evaluated by which to choose",
        "metrics": "none",
        "folder": "none",
        "next": "trainer.predict(rows)",
    }
    assert repr(a_result()) == "<FitResult fit: ok, 0 steps>"


def test_more_metrics_than_a_line_holds() -> None:
    found = lines(a_result(metrics={f"eval_{place}": float("nan") for place in range(9)}))["metrics"]
    assert found.startswith("eval_0 nan, eval_1 nan, ")
    assert found.endswith("eval_5 nan, and 3 more in result.metrics")


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        ("interrupted", r"trainer\.train\(…, resume=True\), or: stepbus train … --resume '.*a b'"),
        ("failed", r"mend what the error says, then trainer\.train\(…, resume=True\), or: .*"),
        ("stopped", r"trainer\.predict\(rows\)"),
    ],
)
def test_what_is_next(status: str, wanted: str, tmp_path: Path) -> None:
    assert re.fullmatch(wanted, lines(a_result(status=status, directory=tmp_path / "a b"))["next"])


def test_a_foreign_text_stays_on_its_line() -> None:
    reason = "mine at step 3: <b>no</b>\nat all\x1b[2J https://user:geheim@host/x"
    result = a_result(status="stopped", reason=reason, disabled={"<i>": "error"})
    status = lines(result)["status"]
    assert status.startswith("stopped: mine at step 3: <b>no</b>\\nat all\\x1b[2J https://***@host/x")
    assert status.endswith("switched off by an error: <i>")
    page = result._repr_html_()
    assert "&lt;b&gt;no" in page
    assert not re.search(r"<b>|<i>|geheim|\x1b", page + str(result).replace("<b>", "").replace("<i>", ""))
    assert re.findall(r"<th[^>]*>(\w+)</th>", page) == NAMES


def test_a_resumed_one_says_what_its_seconds_are_of() -> None:
    """It gave the time of the last session as that of all steps."""
    result = a_result(steps=12, seconds=60.0, resumed_at=8)
    assert lines(result)["steps"] == "12, 4 of them in 1:00 since the resume at step 8"
    assert "12, 4 of them in 1:00 since the resume at step 8" in result._repr_html_()
    whole = lines(a_result(parts=(result, a_result(steps=12, seconds=30.0)), steps=24))
    assert whole["steps"] == "24, 16 of them in 1:30 since the resume"


def test_scores_of_the_end_that_no_evaluation_gave_do_not_count_for_the_best() -> None:
    """The best was worse than the metrics below it, without a word."""
    history = [{"step": 5, "epoch": 1.0, "eval_loss": 0.7}, {"step": 10, "epoch": 2.0, "eval_loss": 0.6706}]
    best = Best("eval_loss", 0.6706, 10)
    result = a_result(steps=12, best=best, history=history, metrics={"eval_loss": 0.6698})
    words = "eval_loss 0.6706 at step 10"
    said = f"{words}; 0.6698 of step 12, after the last evaluation, does not count for it"
    assert lines(result)["best"] == said
    assert lines(a_result(parts=(result,)))["best"].endswith("after a fit's last evaluation does not count for it")
    # Weights put back, an evaluation at the end that was no better, and a fit that was cut in between.
    assert lines(evolve(result, metrics={"eval_loss": 0.6706}))["best"] == words
    ended = [*history, {"step": 12, "epoch": 2.4, "eval_loss": 0.6998}]
    assert lines(evolve(result, history=ended, metrics={"eval_loss": 0.6998}))["best"] == words
    assert lines(evolve(result, status="interrupted", metrics={"eval_loss": 0.7}))["best"] == words


def test_results_together() -> None:
    parts = tuple(
        evolve(a_result(), fit=Fit(f"fold-{n}", {"train": []}, 1), status=status, seconds=30.0, best=best)
        for n, (status, best) in enumerate([("ok", Best("eval_f1", 0.5, 3)), ("stopped", Best("eval_f1", 0.75, 4))])
    )
    found = lines(a_result(parts=parts, metrics={"oof_f1": 0.6}, steps=7))
    assert found["status"] == "ok, of 2 fits (1 ok, 1 stopped)"
    assert found["steps"] == "7 in 1:00"
    assert found["best"] == "eval_f1 0.5000, 0.7500, fit by fit"
    assert repr(a_result(parts=parts, metrics={"oof_f1": 0.6})) == (
        "<FitResult fit of 2 fits: ok, 0 steps, oof_f1 0.6000>"
    )


def test_a_working_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert lines(a_result(directory=tmp_path / "run"))["folder"] == str(tmp_path / "run")
