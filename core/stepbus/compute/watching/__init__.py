"""What looks at every array of a step that is computed uncompiled, and finds the first that is not finite."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.compute.watching.again import became_nan as became_nan
    from stepbus.compute.watching.again import first_spoiled as first_spoiled
    from stepbus.compute.watching.again import looked_at_again as looked_at_again
    from stepbus.compute.watching.findings import Diagnosis as Diagnosis
    from stepbus.compute.watching.findings import Finding as Finding
    from stepbus.compute.watching.findings import Found as Found
    from stepbus.compute.watching.findings import NotFinite as NotFinite
    from stepbus.compute.watching.masks import may_hold_masks as may_hold_masks
    from stepbus.compute.watching.masks import note_masks as note_masks
    from stepbus.compute.watching.shown import saw_changed as saw_changed
    from stepbus.compute.watching.shown import saw_new as saw_new
    from stepbus.compute.watching.shown import saw_update as saw_update
    from stepbus.compute.watching.watch import Watch as Watch
    from stepbus.compute.watching.watch import watching as watching
    from stepbus.compute.watching.words import advice as advice
    from stepbus.compute.watching.words import amount as amount
    from stepbus.compute.watching.words import in_words as in_words
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        again="became_nan first_spoiled looked_at_again",
        findings="Diagnosis Finding Found NotFinite",
        masks="may_hold_masks note_masks",
        shown="saw_changed saw_new saw_update",
        watch="Watch watching",
        words="advice amount in_words",
    )
