"""What stands beside and below the bar: how far a fit is, how fast it goes, and how well."""

from __future__ import annotations

from typing import Any

from stepbus import TrainingState
from stepbus_plugins.progress.pace import Pace
from stepbus_plugins.progress.words import duration, number, rate

Pairs = list[tuple[str, str]]


def _epochs(state: TrainingState) -> str:
    """Return the epoch, and how many there are where that is known."""
    if not state.steps_per_epoch:
        return str(state.epoch + 1)
    epochs = -(-state.total_steps // state.steps_per_epoch)
    return f"{min(state.epoch + 1, epochs)} of {epochs}"


def bar_words(state: TrainingState, pace: Pace, record: dict[str, Any], status: str) -> tuple[str, list[Pairs]]:
    """Return what stands behind the bar, and the lines below it as (name, value) pairs.

    Args:
        state: Where the fit stands.
        pace: The speed of its last steps.
        record: The latest numbers that were logged.
        status: What the steps wait for, if they do.
    """
    percent = f"{100 * state.step // max(state.total_steps, 1)}%"
    right = f"{percent:>4}  {duration(pace.left(state))} left" if pace else f"{percent:>4}"
    counts = [
        ("epoch", _epochs(state)),
        ("step", f"{state.step:,} of {state.total_steps:,}"),
    ]
    if status:
        counts.append(("", status))
    elif pace:
        counts += [("", f"{rate(pace.sequences)} sequences/s"), ("", f"{rate(pace.tokens)} tokens/s")]
    shown = {name: record[name] for name in ("loss", "learning_rate") if name in record} | state.metrics
    return right, [counts, [(name.replace("_", " "), number(value)) for name, value in shown.items()]]
