"""Costs: at the end of a run, the time that each plugin spent in its hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from stepbus import hookimpl

if TYPE_CHECKING:
    from stepbus import Run

# A plugin above this share of the run's time gets a sentence, where that is time that anybody would notice.
WORTH_A_WORD = 0.01
NOTICED_SECONDS = 0.1


class Costs:
    """Show at the end what every plugin's hooks cost, and name again those that an error switched off."""

    affects_result = False  # a resume may change it

    scope: ClassVar[str] = "run"

    @hookimpl
    def on_run_end(self, run: Run) -> None:
        """Report the costs of a run that came to its end."""
        report(run)

    @hookimpl(tryfirst=True)  # before those who show it close
    def on_close(self, run: Run, status: str) -> None:
        """Report those of a run that a signal ended in the midst of a fit, which is gone on with later."""
        if status == "interrupted" and run.results and run.results[-1].status == "interrupted":
            report(run)


def report(run: Run) -> None:
    """Show plugin, calls, time and share of each plugin that was called, the costliest first, and what deserves a word.

    Args:
        run: The run; `run.costs` are its counts.
    """
    total = run.seconds
    called = sorted(((name, cost) for name, cost in run.costs.items() if cost.calls), key=lambda pair: -pair[1].seconds)
    rows = [
        [name, f"{cost.calls:,}", f"{cost.seconds * 1e3:,.1f} ms", f"{cost.seconds / total:.2%}"]
        for name, cost in called
    ]
    run.report("time in plugins' hooks", ["plugin", "calls", "time", "of the run"], rows)
    for name, cost in run.costs.items():
        if cost.seconds > max(WORTH_A_WORD * total, NOTICED_SECONDS):
            run.message(f"{name} spent {cost.seconds:.2f} s, {cost.seconds / total:.1%} of the run, in its hooks")
        for error in cost.disabled:
            run.message(f"switched off by an error: {error}", "warning")
