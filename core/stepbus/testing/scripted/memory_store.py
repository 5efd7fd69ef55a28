"""What keeps a scripted run: memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from stepbus.fit import keep_disabled

if TYPE_CHECKING:
    from stepbus.base import Problem
    from stepbus.fit import FitSession
    from stepbus.kernel import Fit, FitResult
    from stepbus.run import Run
    from stepbus.testing import Snapshot


class MemoryStore:
    """Keeps nothing but where to go on: a snapshot of an earlier run.

    Args:
        resume_from: The snapshot, if there is one.
    """

    def __init__(self, resume_from: Snapshot | None = None) -> None:
        self.resume_from = resume_from

    @property
    def resumed(self) -> bool:
        """Whether it goes on with an earlier run."""
        return self.resume_from is not None

    def open(self, run: Run) -> None:
        """Give the run the number of all scripted ones."""
        run.id = "scripted"

    def problems(self, run: Run) -> list[Problem]:
        """Find nothing."""
        return []

    def hold(self, run: Run) -> None:
        """Nobody else is there."""

    def describe(self, run: Run) -> None:
        """Keep switched off what was off in the snapshot; nobody asks later what the run is."""
        if self.resume_from is not None:
            for known in self.resume_from.done:
                keep_disabled(run.bus, known.disabled)
            keep_disabled(run.bus, self.resume_from.disabled)

    def is_done(self, run: Run, fit: Fit) -> bool:
        """Return whether a fit was done when the snapshot was taken."""
        return any(known.fit.name == fit.name for known in self.resume_from.done) if self.resume_from else False

    def finished(self, run: Run, fit: Fit, session: Callable[[], FitSession]) -> FitResult | None:
        """Return the result of a fit that was done when the snapshot was taken."""
        for known in self.resume_from.done if self.resume_from else ():
            if known.fit.name == fit.name:
                run.message(f"{fit.name} is already done: {known.directory}")
                return known
        return None

    def is_told(self, what: str) -> bool:
        """Return whether plugins were told of a result: that of a fit which was done when the snapshot was taken."""
        done = [f"fit {known.fit.name}" for known in self.resume_from.done] if self.resume_from else []
        return what in done

    def note_told(self, run: Run, what: str) -> None:
        """Nobody asks again."""

    def begin(self, directory: Path) -> None:
        """Make the folder of a fit."""
        directory.mkdir(parents=True, exist_ok=True)

    def restore(self, session: FitSession) -> None:
        """Put the snapshot back, where it is one of this fit."""
        if self.resume_from is not None and self.resume_from.fit == session.fit.name:
            session.restore(self.resume_from.path)

    def keep(self, run: Run, result: FitResult) -> None:
        """The run itself has it."""

    def complete(self, run: Run, result: FitResult) -> None:
        """Nobody opens the run later."""
