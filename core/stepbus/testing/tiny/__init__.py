"""A small real fit: a model of one tiny layer from scratch on a few rows that are made in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.testing.tiny.fit import TinyFit as TinyFit
    from stepbus.testing.tiny.fit import tiny_fit as tiny_fit
    from stepbus.testing.tiny.rehearsal import rehearse as rehearse
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        fit="TinyFit tiny_fit",
        rehearsal="rehearse",
    )
