"""Where the wall time of a fit goes, told apart: each second counts once, for what the loop was at."""

from __future__ import annotations

import time
from collections.abc import Mapping

from stepbus.kernel.measuring.costs import Meter

# What the loop is at -> what a log record calls it.
AT = {"data": "data_wait_seconds", "checkpoints": "checkpoint_wait_seconds", "evaluations": "evaluation_seconds"}
HOOKS, UPDATES = "hooks", "updates"
LOGGED = {**AT, HOOKS: "hook_seconds"}


class Span:
    """Time at one thing, without the hooks and the other things inside it; entered again and again.

    Args:
        times: What it is counted in.
        meter: Knows what hooks took so far.
    """

    __slots__ = ("_before", "_start", "meter", "seconds", "times")

    def __init__(self, times: Times, meter: Meter) -> None:
        self.times, self.meter, self.seconds = times, meter, 0.0
        self._start = self._before = 0.0

    def __enter__(self) -> None:
        self._before = self.meter.inner + self.times.counted
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        elapsed = time.perf_counter() - self._start
        own = elapsed - (self.meter.inner + self.times.counted - self._before)
        self.seconds += own
        self.times.counted += own


class Times:
    """Seconds of one fit. None of its numbers enters anything that a resume compares.

    Args:
        meter: Knows what hooks took so far, in this fit and in those before it.
    """

    def __init__(self, meter: Meter) -> None:
        self.meter, self.counted = meter, 0.0
        self.data, self.updates = Span(self, meter), Span(self, meter)
        self.evaluations, self.checkpoints = Span(self, meter), Span(self, meter)
        self._hooks_before = meter.inner
        self._logged: dict[str, float] = {}

    def whole(self) -> dict[str, float]:
        """Return the seconds so far by what the loop was at; those of hooks hold where none is running."""
        told = {name: getattr(self, name).seconds for name in (UPDATES, *AT)}
        return {**told, HOOKS: self.meter.inner - self._hooks_before}

    def of_loop(self, seconds: float) -> dict[str, float]:
        """Return the whole time of a loop, told apart.

        Args:
            seconds: All of it.
        """
        told = self.whole()
        return {**told, "rest": seconds - sum(told.values())}

    def of_interval(self) -> Mapping[str, float]:
        """Return what was no update since the last call, by the names that a log record has for it."""
        before, self._logged = self._logged, self.whole()
        return {name: self._logged[what] - before.get(what, 0.0) for what, name in LOGGED.items()}
