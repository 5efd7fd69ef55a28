"""Costs: at the end of a run, where its time went, and what each plugin spent in its hooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from stepbus import hookimpl

if TYPE_CHECKING:
    from stepbus import FitResult, Run

# A plugin above this share of the run's time gets a sentence, where that is time that anybody would notice.
WORTH_A_WORD = 0.01
NOTICED_SECONDS = 0.1
# What a fit tells of its loop, in words and in order.
PARTS = {
    "updates": "updates",
    "data": "waiting for data",
    "evaluations": "evaluations",
    "checkpoints": "waiting for checkpoints",
    "hooks": "plugins' hooks",
    "rest": "the rest",
}


class Costs:
    """Show at the end where the time went and what every plugin's hooks cost; name those that an error switched off."""

    affects_result = False  # a resume may change it

    scope: ClassVar[str] = "run"

    def __init__(self) -> None:
        self.trained: list[FitResult] = []  # by this process: those of an earlier one are in `run.results` too

    @hookimpl
    def on_fit_end(self, result: FitResult) -> None:
        """Remember a fit that this process trained."""
        self.trained.append(result)

    @hookimpl
    def on_run_end(self, run: Run) -> None:
        """Report the costs of a run that came to its end."""
        report(run, self.trained)

    @hookimpl(tryfirst=True)  # before those who show it close
    def on_close(self, run: Run, status: str) -> None:
        """Report those of a run that a signal ended in the midst of a fit, which is gone on with later."""
        if status == "interrupted" and run.results and run.results[-1].status == "interrupted":
            report(run, self.trained)
        self.trained = []


def report(run: Run, trained: Sequence[FitResult]) -> None:
    """Show what the training loops were at, what each plugin that was called cost, and what deserves a word.

    Args:
        run: The run; `run.costs` are its counts, of this process as `run.seconds` is.
        trained: The results of the fits that this process trained; without any there is no training to tell of.
    """
    total, now = run.seconds, " since it was resumed" if run.resumed else ""
    if loops := sum(result.seconds for result in trained):
        spent = {part: sum(result.times.get(part, 0.0) for result in trained) for part in PARTS}
        shown = [[PARTS[part], f"{seconds:,.2f} s", f"{seconds / loops:.1%}"] for part, seconds in spent.items()]
        run.report(f"where the time of the training went{now}", ["at", "time", "of the training"], shown)
    called = sorted(((name, cost) for name, cost in run.costs.items() if cost.calls), key=lambda pair: -pair[1].seconds)
    rows = [
        [name, f"{cost.calls:,}", f"{cost.seconds * 1e3:,.1f} ms", f"{cost.seconds / total:.2%}"]
        for name, cost in called
    ]
    run.report(f"time in plugins' hooks{now}", ["plugin", "calls", "time", "of the run"], rows)
    for name, cost in run.costs.items():
        if cost.seconds > max(WORTH_A_WORD * total, NOTICED_SECONDS):
            run.message(f"{name} spent {cost.seconds:.2f} s, {cost.seconds / total:.1%} of the run, in its hooks")
        for error in cost.disabled:
            run.message(f"switched off by an error: {error}", "warning")
