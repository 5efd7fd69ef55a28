"""A plan's parts: what each fit does, what comes out of it, and which rows its weights have seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.kernel.fits.fit import AXES as AXES
    from stepbus.kernel.fits.fit import Axis as Axis
    from stepbus.kernel.fits.fit import Fit as Fit
    from stepbus.kernel.fits.fit import grown_axes as grown_axes
    from stepbus.kernel.fits.lineage import Lineage as Lineage
    from stepbus.kernel.fits.results import FitResult as FitResult
    from stepbus.kernel.fits.results import Predictions as Predictions
    from stepbus.kernel.fits.results import groups_along as groups_along
    from stepbus.kernel.fits.results import with_parts as with_parts
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        fit="AXES Axis Fit grown_axes",
        lineage="Lineage",
        results="FitResult Predictions groups_along with_parts",
    )
