"""What is wrong between settings, each of which is fine by itself: of several sections, and of one call or command."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.config.between.one_breath import contradictions as contradictions
    from stepbus.config.between.one_breath import off_and_set as off_and_set
    from stepbus.config.between.sections import across as across
    from stepbus.config.between.sections import check_schedule as check_schedule
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        one_breath="contradictions off_and_set",
        sections="across check_schedule",
    )
