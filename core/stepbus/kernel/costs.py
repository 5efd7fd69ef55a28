"""What the plugins of a run cost: the time in their hooks, without the time of others that they called."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from attrs import define, field

if TYPE_CHECKING:
    from stepbus.run import Run

# A plugin above this share of the run's time is pointed out.
WORTH_A_WORD = 0.01


@define(eq=False)
class Cost:
    """One plugin's calls, over all fits of a run.

    Args:
        seconds: Time in its hooks.
        calls: How often one of them was called.
        disabled: The errors that switched it off, one for each fit where that happened.
    """

    seconds: float = 0.0
    calls: int = 0
    disabled: list[str] = field(factory=list)


@define(eq=False)
class Meter:
    """Shared by every bus of a run.

    Args:
        trace: Where each call is printed, if anywhere.
        costs: Plugin name -> what it cost.
        inner: Time of the calls made from within the call that is running, in seconds.
    """

    trace: TextIO | None = None
    costs: dict[str, Cost] = field(factory=dict)
    inner: float = 0.0

    def of(self, name: str) -> Cost:
        """Return the account of a plugin; it is opened at the first question."""
        return self.costs.setdefault(name, Cost())

    def say(self, step: int, seconds: float, hook: str, name: str) -> None:
        """Print one call, if calls are traced."""
        if self.trace is not None:
            print(f"trace  step {step:<7} {seconds * 1e6:>12,.1f} µs  {hook:<22} {name}", file=self.trace)

    def rows(self, total: float) -> list[list[str]]:
        """Return plugin, calls, time and share of each plugin that was called, the dearest first.

        Args:
            total: Wall time of the run, in seconds.
        """
        called = sorted(
            ((name, cost) for name, cost in self.costs.items() if cost.calls), key=lambda pair: -pair[1].seconds
        )
        return [
            [name, f"{cost.calls:,}", f"{cost.seconds * 1e3:,.1f} ms", f"{cost.seconds / total:.2%}"]
            for name, cost in called
        ]

    def remarks(self, total: float) -> list[tuple[str, str]]:
        """Return what deserves a sentence, with its level: a dear plugin, and one that an error switched off.

        Args:
            total: Wall time of the run, in seconds.
        """
        found = []
        for name, cost in self.costs.items():
            if cost.seconds > WORTH_A_WORD * total:
                share = f"{cost.seconds:.2f} s, {cost.seconds / total:.1%} of the run"
                found.append((f"{name} spent {share}, in its hooks", "info"))
            found += [(f"switched off by an error: {error}", "warning") for error in cost.disabled]
        return found


def report_costs(run: Run, total: float) -> None:
    """Show what each plugin of a run cost, and point out the dear ones and those that an error switched off.

    Args:
        run: The run.
        total: Its wall time so far, in seconds.
    """
    run.report("time in plugins' hooks", ["plugin", "calls", "time", "of the run"], run.meter.rows(total))
    for text, level in run.meter.remarks(total):
        run.message(text, level)
