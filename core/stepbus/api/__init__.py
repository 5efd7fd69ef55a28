"""What Python users call: models, trainers, opened folders, files of predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.api.create import create_trainer as create_trainer
    from stepbus.api.opening import open_trainer as open_trainer
    from stepbus.api.predicting import Models as Models
    from stepbus.api.starting import check_own as check_own
    from stepbus.api.starting import why_none as why_none
    from stepbus.api.trainer import Trainer as Trainer
    from stepbus.api.writing import find_output as find_output
    from stepbus.api.writing import write_predictions as write_predictions
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        create="create_trainer",
        opening="open_trainer",
        predicting="Models",
        starting="check_own why_none",
        trainer="Trainer",
        writing="find_output write_predictions",
    )
