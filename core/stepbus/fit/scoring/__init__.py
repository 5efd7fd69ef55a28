"""Which metrics a fit computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.fit.scoring.choosing import chosen_metrics as chosen_metrics
    from stepbus.fit.scoring.choosing import named_directions as named_directions
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(__name__, choosing="chosen_metrics named_directions")
