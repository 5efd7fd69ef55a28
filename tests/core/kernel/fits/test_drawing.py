"""The course of a fit as a frame and as a picture."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest

from stepbus import BadInput, Fit, FitResult

LOGGED = [{"step": 3, "epoch": 0.3, "loss": 0.75, "rate": 0.1}, {"step": 10, "epoch": 1.0, "loss": 0.5, "rate": 0.0}]
HISTORY = [{"step": 5, "epoch": 0.5, "eval_loss": 0.6, "eval_f1": 0.5}, {"step": 10, "epoch": 1.0, "eval_loss": 0.4}]


def a_result(name: str = "fit", **fields: Any) -> FitResult:
    return FitResult(Fit(name, {"train": []}, 1), **fields)


@pytest.fixture(autouse=True)
def no_window() -> Iterator[None]:
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield
    pyplot.close("all")


def test_a_frame_has_a_row_for_each_step() -> None:
    nan = float("nan")
    wanted = pd.DataFrame(
        {
            "step": [3, 5, 10],
            "epoch": [0.3, 0.5, 1.0],
            "loss": [0.75, nan, 0.5],
            "rate": [0.1, nan, 0.0],
            "eval_loss": [nan, 0.6, 0.4],
            "eval_f1": [nan, 0.5, nan],
        }
    )
    pd.testing.assert_frame_equal(a_result(logged=LOGGED, history=HISTORY).frame(), wanted)


def test_a_frame_of_several_fits_names_them() -> None:
    inner = a_result("both", parts=(a_result("fold-1", history=HISTORY), a_result("fold-2", logged=LOGGED)))
    found = a_result(parts=(inner, a_result("alone", history=HISTORY[:1]))).frame()
    assert list(found.columns[:3]) == ["fit", "step", "epoch"]
    assert found["fit"].tolist() == ["fold-1", "fold-1", "fold-2", "fold-2", "alone"]
    assert found["step"].tolist() == [5, 10, 3, 10, 5]


def test_an_empty_frame_has_its_columns() -> None:
    assert list(a_result().frame().columns) == ["step", "epoch"]
    assert list(a_result(parts=(a_result("a"), a_result("b"))).frame().columns) == ["fit", "step", "epoch"]


def points(axes: Any) -> dict[str, tuple[list[float], list[float]]]:
    return {line.get_label(): (line.get_xdata().tolist(), line.get_ydata().tolist()) for line in axes.get_lines()}


def test_a_picture_shows_the_numbers() -> None:
    loss, f1 = a_result(logged=LOGGED, history=HISTORY).plot()
    assert (loss.get_title(), f1.get_title()) == ("loss", "eval_f1")
    assert points(loss) == {"training": ([3, 10], [0.75, 0.5]), "evaluation": ([5, 10], [0.6, 0.4])}
    assert list(points(f1).values()) == [([5], [0.5])]
    loss.figure.canvas.draw()


def test_a_picture_of_several_fits_has_a_line_for_each() -> None:
    parts = (a_result("fold-1", logged=LOGGED, history=HISTORY), a_result("fold-2", history=HISTORY))
    loss, f1 = a_result(parts=parts).plot()
    assert set(points(loss)) == {"fold-1 training", "fold-1 evaluation", "fold-2 evaluation"}
    assert set(points(f1)) == {"fold-1", "fold-2"}


def test_without_a_logged_loss_the_means_of_epochs_are_drawn() -> None:
    history = [{"step": 4, "epoch": 1.0, "train_loss": 0.7, "eval_loss": 0.6}]
    (loss,) = a_result(history=history).plot()
    assert points(loss) == {"training": ([4], [0.7]), "evaluation": ([4], [0.6])}


def test_what_is_drawn_has_a_name() -> None:
    result = a_result(logged=LOGGED, history=HISTORY)
    drawn = result.plot("f1", "eval_loss", "loss", "rate", "eval_f1")
    assert [axes.get_title() for axes in drawn] == ["eval_f1", "loss", "rate"]
    with pytest.raises(BadInput, match=r"'eval_f2' was not told .*did you mean 'eval_f1'.*loss, rate and eval_f1"):
        result.plot("eval_f2")
    for wrong in (["loss", "eval_f1"], 3, None):  # which was a traceback of Python's
        with pytest.raises(BadInput, match=r'plot: expected names, as in plot\("loss", "eval_accuracy"\), got '):
            result.plot(wrong)


@pytest.mark.parametrize("status", ["ok", "failed", "interrupted"])
def test_nothing_to_draw_is_said_in_the_picture(status: str) -> None:
    (axes,) = a_result(status=status).plot()
    assert [text.get_text() for text in axes.texts] == ["nothing was logged"]
    axes.figure.canvas.draw()


def test_numbers_that_are_not_finite() -> None:
    history = [{"step": 1, "epoch": 1.0, "eval_loss": np.nan}, {"step": 2, "epoch": 2.0, "eval_loss": np.inf}]
    (axes,) = a_result(history=history).plot()
    axes.figure.canvas.draw()
    assert list(points(axes)) == ["evaluation"]


def test_without_matplotlib_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in sys.modules if each.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(BadInput, match=r"pip install 'stepbus\[notebook\]'; result\.frame\(\) has the same numbers$"):
        a_result(history=HISTORY).plot()
