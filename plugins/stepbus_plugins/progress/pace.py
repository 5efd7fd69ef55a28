"""How fast the last steps of a fit went."""

from __future__ import annotations

from collections import deque

from stepbus import StepResult, TrainingState

# Speeds are means over so many steps.
LAST = 200


class Pace:
    """The speed of the last steps."""

    def __init__(self) -> None:
        self._steps: deque[tuple[float, int, int]] = deque(maxlen=LAST)

    def __bool__(self) -> bool:
        return bool(self._steps)

    def clear(self) -> None:
        """Forget the steps of another fit."""
        self._steps.clear()

    def add(self, step: StepResult) -> None:
        """Count one update."""
        self._steps.append((step.seconds, step.sequences, step.tokens))

    @property
    def sequences(self) -> float:
        """Sequences per second."""
        return self._mean(1)

    @property
    def tokens(self) -> float:
        """Tokens per second."""
        return self._mean(2)

    def left(self, state: TrainingState) -> float:
        """Return the seconds that the remaining steps will take, 0 while nothing is known."""
        if not self._steps:
            return 0.0
        return (state.total_steps - state.step) * sum(step[0] for step in self._steps) / len(self._steps)

    def _mean(self, column: int) -> float:
        return sum(step[column] for step in self._steps) / max(sum(step[0] for step in self._steps), 1e-9)
