"""Which rows the weights of a fit have seen: kept with a model and in its folder, and who may have chosen by them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.fit.seen.deciding import deciders as deciders
    from stepbus.fit.seen.deciding import watch_reading as watch_reading
    from stepbus.fit.seen.deciding import watched_rate as watched_rate
    from stepbus.fit.seen.lineages import BEFORE as BEFORE
    from stepbus.fit.seen.lineages import before_in as before_in
    from stepbus.fit.seen.lineages import lineage_at as lineage_at
    from stepbus.fit.seen.lineages import lineage_in as lineage_in
    from stepbus.fit.seen.lineages import lineage_of as lineage_of
    from stepbus.fit.seen.lineages import packed as packed
    from stepbus.fit.seen.lineages import put_lineage as put_lineage
    from stepbus.fit.seen.meetings import Meeting as Meeting
    from stepbus.fit.seen.meetings import meeting as meeting
    from stepbus.fit.seen.meetings import seen_in as seen_in
    from stepbus.fit.seen.meetings import trained_on as trained_on
    from stepbus.fit.seen.meetings import warnings_of as warnings_of
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        deciding="deciders watch_reading watched_rate",
        lineages="BEFORE before_in lineage_at lineage_in lineage_of packed put_lineage",
        meetings="Meeting meeting seen_in trained_on warnings_of",
    )
