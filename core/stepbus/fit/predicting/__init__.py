"""What plugins do to rows before they are tokens, and to what a model says of them in several views."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.fit.predicting.preparing import prepared as prepared
    from stepbus.fit.predicting.preparing import prepared_fit as prepared_fit
    from stepbus.fit.predicting.taking_part import STATES as STATES
    from stepbus.fit.predicting.taking_part import fit_states as fit_states
    from stepbus.fit.predicting.taking_part import takes_part as takes_part
    from stepbus.fit.predicting.views import View as View
    from stepbus.fit.predicting.views import combined as combined
    from stepbus.fit.predicting.views import seen_otherwise as seen_otherwise
    from stepbus.fit.predicting.views import views_of as views_of
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        preparing="prepared prepared_fit",
        taking_part="STATES fit_states takes_part",
        views="View combined seen_otherwise views_of",
    )
