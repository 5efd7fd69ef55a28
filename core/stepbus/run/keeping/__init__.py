"""What a run writes down beside its results: what each fit was begun with, and what plugins were told."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.run.keeping.delivery import DELIVERED as DELIVERED
    from stepbus.run.keeping.delivery import Deliveries as Deliveries
    from stepbus.run.keeping.telling import tell_combined as tell_combined
    from stepbus.run.keeping.telling import tell_fit as tell_fit
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        delivery="DELIVERED Deliveries",
        telling="tell_combined tell_fit",
    )
