"""Which weights count: those of the last update, or averages of them; and who offers such averages."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.fit.using.averaging import begin_averages as begin_averages
    from stepbus.fit.using.averaging import checked_averages as checked_averages
    from stepbus.fit.using.averaging import settle as settle
    from stepbus.fit.using.averaging import settle_at_last as settle_at_last
    from stepbus.fit.using.averaging import tensors_in_use as tensors_in_use
    from stepbus.fit.using.averaging import weights_in_use as weights_in_use
    from stepbus.fit.using.providers import IN_METADATA as IN_METADATA
    from stepbus.fit.using.providers import averages_of as averages_of
    from stepbus.fit.using.providers import averaging_problems as averaging_problems
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        averaging="begin_averages checked_averages settle settle_at_last tensors_in_use weights_in_use",
        providers="IN_METADATA averages_of averaging_problems",
    )
