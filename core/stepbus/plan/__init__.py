"""What a run would do, in words, before any weight is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.plan.planning import describe_plan as describe_plan
    from stepbus.plan.profiling import profile as profile
    from stepbus.plan.profiling import render_profile as render_profile
    from stepbus.plan.words import render as render
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        planning="describe_plan",
        profiling="profile render_profile",
        words="render",
    )
