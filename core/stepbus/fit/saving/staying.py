"""What stays of the checkpoints of a fit: which are the best, and what of one is only needed to go on."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from stepbus.fit.exporting import TRAINING_FILE
from stepbus.storage import AVERAGED

if TYPE_CHECKING:
    from stepbus.fit import Fitting

_TO_GO_ON = ("optimizer.safetensors", "plugins.safetensors", "best.safetensors", "state.json", TRAINING_FILE)
_MODEL = "model.safetensors"


def to_use(names: Collection[str]) -> dict[str, str]:
    """Return what a checkpoint keeps that is there to be used only: name -> which of its files has the content.

    Where averages of the weights were evaluated, they are the model: whoever opens the folder gets what was scored.

    Args:
        names: The files of a whole one.
    """
    stay = {name: name for name in names if name not in _TO_GO_ON}
    if AVERAGED in stay:
        stay[_MODEL] = stay.pop(AVERAGED)
    return stay


def ranked(session: Fitting) -> list[int]:
    """Return the steps at which a fit was evaluated, by the monitored metric, the best first.

    Args:
        session: The fit. While it knows of no best, none of its evaluations counts as one.
    """
    if session.state.best is None:
        return []
    monitor, greater = session.monitor, session.directions.get(session.monitor)
    values = {record["step"]: record[monitor] for record in session.state.history if monitor in record}
    numbers = [step for step, value in values.items() if value == value and greater is not None]
    # The best of all is that of the fit: what was evaluated before other rows or another loss may have better numbers.
    first = session.state.best.step
    return sorted(numbers, key=lambda step: (step != first, -values[step] if greater else values[step]))
