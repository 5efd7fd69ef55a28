"""How numbers, times, places and files are put into words. Knows no rich."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from stepbus import TrainingState


def number(value: Any) -> str:
    """Return a metric or a rate in at most seven characters or so."""
    if not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) or value != value or value in (float("inf"), float("-inf")):
        return str(value)
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e4:
        return f"{value:.4f}"
    return f"{value:.2e}"


def rate(value: float) -> str:
    """Return how many per second: 81, 1,204 or 48k."""
    if value >= 10_000:
        return f"{value / 1000:.0f}k"
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def duration(seconds: float) -> str:
    """Return seconds as 0:42, 12:05 or 3:07:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def epoch_of(state: TrainingState) -> str:
    """Return how many epochs are done, with two decimals."""
    return f"{state.step / state.steps_per_epoch:.2f}" if state.steps_per_epoch else str(state.epoch)


def where(state: TrainingState) -> str:
    """Return the step and the epoch, as a log line begins."""
    width = len(str(state.total_steps))
    return f"step {state.step:>{width}}/{state.total_steps}  epoch {epoch_of(state)}"


def log_line(state: TrainingState, record: dict[str, Any], left: float) -> str:
    """Return a logged record as a plain line.

    Args:
        state: Where the fit stands.
        record: What was logged.
        left: Seconds to the end, 0 while nothing is known.
    """
    words = [where(state)]
    for name, value in record.items():
        if name.endswith("_per_second"):
            words.append(f"{rate(float(value))} {name.removesuffix('_per_second')}/s")
        elif name not in ("step", "epoch") and not name.endswith("_seconds"):  # what waited is told at the end
            words.append(f"{name} {number(value)}")
    return "  ".join([*words, f"{duration(left)} left"] if left else words)


def place(name: str, fits: list[str]) -> str:
    """Return a fit's name with its place: "fold 2 of 5", or nothing for the only one."""
    if len(fits) < 2:
        return ""
    position = fits.index(name) + 1
    match = re.fullmatch(r"(\w+)[-_](\d+)", name)
    if match and int(match[2]) == position:
        return f"{match[1]} {position} of {len(fits)}"
    return f"{name}, fit {position} of {len(fits)}"


def places(paths: list[Path]) -> str:
    """Return where files lie, the last one and how many there are beside it."""
    here = Path.cwd()
    shown = [str(path.relative_to(here) if path.is_relative_to(here) else path) for path in paths]
    if len(shown) <= 2:
        return ", ".join(shown)
    return f"{shown[0]} … {shown[-1]} ({len(shown)})"


def best_of(name: str, history: list[dict[str, Any]], greater_is_better: bool | None) -> list[str]:
    """Return the best value of a metric over all evaluations, and its step."""
    known = [(record[name], record["step"]) for record in history if record.get(name) == record.get(name, float("nan"))]
    if not known or greater_is_better is None:
        return ["", ""]
    value, step = (max if greater_is_better else min)(known, key=lambda pair: pair[0])
    return [number(value), str(step)]


def metric_rows(
    metrics: dict[str, float], history: list[dict[str, Any]], directions: dict[str, bool | None]
) -> list[list[str]]:
    """Return a row for each final metric: its name, its value, the best over all evaluations and that one's step."""
    return [[name, number(value), *best_of(name, history, directions.get(name))] for name, value in metrics.items()]


def whole_title(run: Any, result: Any, reports: list[str]) -> str:
    """Return what stands above the metrics of the fits together, or "" where they need not be shown.

    Args:
        run: The run.
        result: What its fits came to.
        reports: The titles of the tables that were shown.
    """
    if len(run.fits) < 2 or not result.metrics:
        return ""  # those of the only fit were shown at its end
    folds = all([*fit.scope] == ["fold"] for fit in run.fits if not fit.auxiliary)
    if folds and any(title.startswith("Cross-validation") for title in reports):
        return ""  # whose table has them all; what combines several of these tables has none
    together = sum(not fit.auxiliary for fit in run.fits)
    return f"Metrics of {together} fits together" if together > 1 else "Metrics of the run"
