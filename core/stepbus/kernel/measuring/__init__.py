"""What is measured of a run: the hooks of each plugin, and where the time of a fit went."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.kernel.measuring.costs import Cost as Cost
    from stepbus.kernel.measuring.costs import Meter as Meter
    from stepbus.kernel.measuring.times import LOGGED as LOGGED
    from stepbus.kernel.measuring.times import Times as Times
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(__name__, costs="Cost Meter", times="LOGGED Times")
