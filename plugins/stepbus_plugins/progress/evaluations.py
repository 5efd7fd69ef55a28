"""The evaluations of a fit: rows below one head on a terminal, plain lines in a log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepbus import TrainingState
from stepbus_plugins.progress.words import epoch_of, number, where

if TYPE_CHECKING:
    from stepbus_plugins.progress.screen import Screen


class Evaluations:
    """Writes evaluations; the head is written again where the columns changed."""

    def __init__(self) -> None:
        self.heads: list[str] = []

    def clear(self) -> None:
        """Begin with a head again: another fit follows."""
        self.heads = []

    def write(
        self, screen: Screen, state: TrainingState, metrics: dict[str, float], note: str, loss: float | None
    ) -> None:
        """Write one evaluation.

        Args:
            screen: Where.
            state: Where the fit stands.
            metrics: What came out.
            note: best, final or nothing.
            loss: The latest training loss, where there is one.
        """
        if not screen.live:
            words = [where(state), *(f"{name} {number(value)}" for name, value in metrics.items()), note]
            screen.line("  ".join(word for word in words if word))
            return
        shown = ({} if loss is None else {"train loss": loss}) | metrics
        # As many columns as the terminal has room for; the history file has them all.
        room, heads = min(screen.console.width, 120) - 30, list[str]()  # a notebook's lines are not folded
        for name in shown:
            room -= max(len(name), 8) + 2
            if room < 0:
                break
            heads.append(name)
        if heads != self.heads:
            self.heads = heads
            screen.line((f"  {'epoch':>6}  {'step':>7}" + "".join(f"  {head:>8}" for head in heads), "dim"))
        cells = "".join(f"  {number(shown[head]):>{max(len(head), 8)}}" for head in heads)
        screen.line(f"  {epoch_of(state):>6}  {state.step:>7}{cells}  ", (note, "green"))
