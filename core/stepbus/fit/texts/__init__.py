"""Fits that train on rows of text: their parts, and the model of the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.fit.texts.fits import TextFits as TextFits
    from stepbus.fit.texts.fits import text_of as text_of
    from stepbus.fit.texts.models import config_model as config_model
    from stepbus.fit.texts.models import known_config as known_config
    from stepbus.fit.texts.models import new_encoder as new_encoder
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        fits="TextFits text_of",
        models="config_model known_config new_encoder",
    )
