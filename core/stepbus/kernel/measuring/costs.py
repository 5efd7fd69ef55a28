"""What is counted of a run's hooks: each plugin's calls and time, without the time of others that they called."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TextIO

from attrs import define, field, frozen


@frozen
class Cost:
    """What the hooks of one plugin took so far, over all fits of a run.

    Args:
        seconds: Time in its hooks, without that of other plugins that they called.
        calls: How often one of them was called.
        disabled: The errors that switched it off, one for each fit where that happened.
    """

    seconds: float
    calls: int
    disabled: tuple[str, ...]


@define(eq=False)
class Account:
    """One plugin's running count, which only the guard of a bus writes; its numbers are those of `Cost`."""

    seconds: float = 0.0
    calls: int = 0
    disabled: list[str] = field(factory=list)


@define(eq=False)
class Meter:
    """Shared by every bus of a run.

    Args:
        trace: Where each call is printed, if anywhere.
        accounts: Plugin name -> its running count.
        inner: Time of the calls made from within the call that is running, in seconds.
    """

    trace: TextIO | None = None
    accounts: dict[str, Account] = field(factory=dict)
    inner: float = 0.0

    def of(self, name: str) -> Account:
        """Return the account of a plugin; it is opened at the first question."""
        return self.accounts.setdefault(name, Account())

    def say(self, step: int, seconds: float, hook: str, name: str) -> None:
        """Print one call, if calls are traced."""
        if self.trace is not None:
            print(f"trace  step {step:<7} {seconds * 1e6:>12,.1f} µs  {hook:<22} {name}", file=self.trace)

    @property
    def costs(self) -> Mapping[str, Cost]:
        """Plugin name -> what it cost up to now; who reads it changes nothing."""
        return MappingProxyType(
            {name: Cost(each.seconds, each.calls, tuple(each.disabled)) for name, each in self.accounts.items()}
        )
