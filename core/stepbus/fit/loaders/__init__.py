"""Any module of MLX on any iterable of batches: the parts of such fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.fit.loaders.data import LoaderData as LoaderData
    from stepbus.fit.loaders.fits import LoaderFits as LoaderFits
    from stepbus.fit.loaders.fits import is_module as is_module
    from stepbus.fit.loaders.sources import is_loader as is_loader
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        data="LoaderData",
        fits="LoaderFits is_module",
        sources="is_loader",
    )
