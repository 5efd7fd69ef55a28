"""How the fits of a run predict together: in the run itself, and whenever it is opened afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.run.prediction.together import Predicting as Predicting
    from stepbus.run.prediction.together import Together as Together
    from stepbus.run.prediction.together import as_decision as as_decision
    from stepbus.run.prediction.together import predict_together as predict_together
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        together="Predicting Together as_decision predict_together",
    )
