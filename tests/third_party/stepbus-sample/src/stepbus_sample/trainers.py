"""A name that stepbus does not have: `from stepbus import create_restarts_trainer`."""

from __future__ import annotations

from typing import Any

from stepbus import BaseTrainer, create_trainer


def create_restarts_trainer(
    model: Any = None, *, cycles: int = 2, goal: float | None = None, **overrides: Any
) -> BaseTrainer:
    """Create a trainer of the preset `restarts`.

    Args:
        model: What `create_trainer` takes.
        cycles: Half cosines in one fit.
        goal: The accuracy on the validation rows at which it stops; None takes the preset's.
        **overrides: Any setting by its name.
    """
    if goal is not None:
        overrides["stop_at_goal__goal"] = goal
    return create_trainer(model, config="restarts", scheduler__cycles=cycles, **overrides)
