"""What is saved of a fit beside its own course: by hand, on trial, and what of it stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.fit.saving.by_hand import BY_HAND as BY_HAND
    from stepbus.fit.saving.by_hand import NONE_TO_GO_ON_FROM as NONE_TO_GO_ON_FROM
    from stepbus.fit.saving.by_hand import SavesByHand as SavesByHand
    from stepbus.fit.saving.by_hand import note_loaded as note_loaded
    from stepbus.fit.saving.changed import go_on_with as go_on_with
    from stepbus.fit.saving.changed import tell_epochs as tell_epochs
    from stepbus.fit.saving.staying import ranked as ranked
    from stepbus.fit.saving.staying import to_use as to_use
    from stepbus.fit.saving.suiting import check_suits as check_suits
    from stepbus.fit.saving.suiting import labels_of as labels_of
    from stepbus.fit.saving.suiting import other_model as other_model
    from stepbus.fit.saving.suiting import other_reading as other_reading
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        by_hand="BY_HAND NONE_TO_GO_ON_FROM SavesByHand note_loaded",
        changed="go_on_with tell_epochs",
        staying="ranked to_use",
        suiting="check_suits labels_of other_model other_reading",
    )
