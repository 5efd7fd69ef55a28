"""Trainers of the user's own: the methods that a subclass may write anew, and what else it writes that nobody calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.api.subclassing.methods import StepMethods as StepMethods
    from stepbus.api.subclassing.overrides import HELD as HELD
    from stepbus.api.subclassing.own_step import own_steps as own_steps
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        methods="StepMethods",
        overrides="HELD",
        own_step="own_steps",
    )
