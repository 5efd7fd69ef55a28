"""What a run writes down beside its results: what each fit was begun with, and what plugins were told."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.run.keeping.beginnings import BEGUN as BEGUN
    from stepbus.run.keeping.beginnings import ROWS as ROWS
    from stepbus.run.keeping.beginnings import digest_of as digest_of
    from stepbus.run.keeping.delivery import DELIVERED as DELIVERED
    from stepbus.run.keeping.delivery import Deliveries as Deliveries
    from stepbus.run.keeping.finished import free as free
    from stepbus.run.keeping.finished import goes_on as goes_on
    from stepbus.run.keeping.finished import refuse_partial as refuse_partial
    from stepbus.run.keeping.finished import reopen as reopen
    from stepbus.run.keeping.finished import staying as staying
    from stepbus.run.keeping.finished import without_run as without_run
    from stepbus.run.keeping.holding import Differences as Differences
    from stepbus.run.keeping.holding import differences as differences
    from stepbus.run.keeping.holding import planned as planned
    from stepbus.run.keeping.holding import refuse_mixtures as refuse_mixtures
    from stepbus.run.keeping.holding import refuse_other_needs as refuse_other_needs
    from stepbus.run.keeping.holding import refuse_trained_before as refuse_trained_before
    from stepbus.run.keeping.holding import write as write
    from stepbus.run.keeping.linking import is_of_before as is_of_before
    from stepbus.run.keeping.linking import link_model as link_model
    from stepbus.run.keeping.telling import forget_from as forget_from
    from stepbus.run.keeping.telling import forget_undone as forget_undone
    from stepbus.run.keeping.telling import tell_combined as tell_combined
    from stepbus.run.keeping.telling import tell_fit as tell_fit
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        beginnings="BEGUN ROWS digest_of",
        finished="free goes_on refuse_partial reopen staying without_run",
        holding="Differences differences planned refuse_mixtures refuse_other_needs refuse_trained_before write",
        linking="is_of_before link_model",
        delivery="DELIVERED Deliveries",
        telling="forget_from forget_undone tell_combined tell_fit",
    )
