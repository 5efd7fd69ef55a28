"""Which metrics a fit computes, and what they say of predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.fit.scoring.choosing import chosen_metrics as chosen_metrics
    from stepbus.fit.scoring.choosing import named_directions as named_directions
    from stepbus.fit.scoring.metrics import metric_values as metric_values
    from stepbus.fit.scoring.metrics import rehearse as rehearse
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        choosing="chosen_metrics named_directions",
        metrics="metric_values rehearse",
    )
