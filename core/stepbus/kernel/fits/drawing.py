"""The course of a fit as a frame and as a picture, or of several fits beside each other."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from stepbus.base import BadInput, did_you_mean, listed, show_python

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from stepbus.kernel.fits.fit import Fit

_PLACES = ("fit", "step", "epoch")


class Drawn:
    """What a result gives of its course.

    Example:
        >>> from stepbus import Fit, FitResult
        >>> logged, history = [{"step": 5, "epoch": 0.5, "loss": 0.7}], [{"step": 10, "epoch": 1.0, "eval_loss": 0.6}]
        >>> FitResult(Fit("fit", {"train": []}, 1), logged=logged, history=history).frame()
           step  epoch  loss  eval_loss
        0     5    0.5   0.7        NaN
        1    10    1.0   NaN        0.6
    """

    __slots__ = ()
    fit: Fit
    parts: tuple[Any, ...]
    logged: list[dict[str, Any]]
    epoch_means: list[dict[str, float]]
    history: list[dict[str, Any]]

    def frame(self) -> pd.DataFrame:
        """Return the course of training: a row for each step at which something was logged or evaluated.

        Returns:
            Columns step, epoch, what was logged (loss, learning_rate, …; train_loss at the end of each epoch) and what
            was evaluated (eval_loss, …); of several fits together one after the other, with the fit's name in column
            fit. What was not told at a step is NaN.
        """
        import pandas as pd

        fits = _fits(self)
        rows = [({"fit": name} if len(fits) > 1 else {}) | row for name, course in fits for row in course]
        names = dict.fromkeys(name for row in rows for name in row)
        order = [*_PLACES[len(fits) < 2 :], *(name for name in names if name not in _PLACES)]
        found = pd.DataFrame(rows, columns=order)
        return found.astype({"step": int})

    def plot(self, *names: str) -> list[Axes]:
        """Draw the course of training with matplotlib: the loss of training and of evaluation, and each other metric.

        A notebook shows it; in a script write it to a file (`result.plot()[0].figure.savefig("course.png")`) or open a
        window (`matplotlib.pyplot.show()`).

        Args:
            *names: What to draw, a panel each: "loss" (both losses), "eval_accuracy" (or "accuracy"), "learning_rate".
                None draws the loss and every metric that was evaluated.

        Returns:
            The axes of the panels, in order.

        Raises:
            BadInput: matplotlib is missing, or nothing of that name was told.
        """
        try:
            from matplotlib import pyplot
        except ModuleNotFoundError as error:
            raise BadInput(
                f"result.plot draws with matplotlib, which cannot be imported ({error}): pip install "
                "'stepbus[notebook]'; result.frame() has the same numbers"
            ) from error
        if wrong := [name for name in names if not isinstance(name, str)]:
            raise BadInput(f'plot: expected names, as in plot("loss", "eval_accuracy"), got {show_python(wrong[0])}')
        fits = _fits(self)
        panels = _panels(fits, names)
        columns = min(3, len(panels))
        lines = math.ceil(len(panels) / columns)
        _, grid = pyplot.subplots(
            lines, columns, figsize=(4.5 * columns, 3.2 * lines), squeeze=False, layout="constrained"
        )
        for panel, axes in zip(panels, grid.flat, strict=False):
            _draw(axes, panel, fits)
        for axes in grid.flat[len(panels) :]:
            axes.remove()
        return list(grid.flat[: len(panels)])


def _fits(result: Drawn) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return the name and the course of each fit that a result is made of."""
    if result.parts:
        return [found for part in result.parts for found in _fits(part)]
    rows: dict[int, dict[str, Any]] = {}
    for record in [*result.logged, *result.epoch_means, *result.history]:
        rows.setdefault(record["step"], {}).update(record)
    return [(result.fit.name, [rows[step] for step in sorted(rows)])]


def _panels(fits: list[tuple[str, list[dict[str, Any]]]], names: tuple[str, ...]) -> list[str]:
    """Return the panels to draw: loss, and names of columns.

    Raises:
        BadInput: Nothing of that name was told.
    """
    known = dict.fromkeys(name for _, course in fits for row in course for name in row if name not in _PLACES)
    scores = [name for name in known if name.startswith("eval_") and name != "eval_loss"]
    if not names:
        return ["loss", *scores]
    found = []
    for name in names:
        column = next((each for each in (name, f"eval_{name}") if each in known), name)
        if column == "eval_loss" or name == "loss":
            column = "loss"
        elif column not in known:
            told = f"nothing but {listed(['loss', *(each for each in known if not each.endswith('loss'))])} was told"
            raise BadInput(f"result.plot: {name!r} was not told in training{did_you_mean(name, known)}; {told}")
        found.append(column)
    return list(dict.fromkeys(found))


def _draw(axes: Axes, panel: str, fits: list[tuple[str, list[dict[str, Any]]]]) -> None:
    """Draw one panel: a line for each fit, of the loss two."""
    columns: tuple[str, ...] = (panel,)
    if panel == "loss":  # of a fit shorter than a log interval, what is known are the means of its epochs
        logged = any("loss" in row for _, course in fits for row in course)
        columns = ("loss" if logged else "train_loss", "eval_loss")
    told = set()
    for at, (name, course) in enumerate(fits):
        for column in columns:
            points = [(row["step"], row[column]) for row in course if column in row]
            if not points:
                continue
            told.add(column)
            training = panel == "loss" and column != "eval_loss"
            words = "training" if training else "evaluation"
            label = " ".join([name] * (len(fits) > 1) + [words] * (panel == "loss"))
            marker = "o" if not training or len(points) == 1 else ""
            line = "--" if training and len(fits) > 1 else "-"
            color = f"C{at % 10}" if len(fits) > 1 or not training else "0.6"
            axes.plot(*zip(*points, strict=True), line, marker=marker, markersize=3, color=color, label=label)
    axes.set_title(panel)
    axes.set_xlabel("step")
    if not told:
        axes.text(0.5, 0.5, "nothing was logged", ha="center", va="center", transform=axes.transAxes)
    elif panel == "loss" or len(fits) > 1:
        axes.legend(fontsize="small")
