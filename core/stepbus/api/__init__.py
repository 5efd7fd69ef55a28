"""What Python users call: models, trainers, opened folders, files of predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.api.create import create_trainer as create_trainer
    from stepbus.api.opening import open_trainer as open_trainer
    from stepbus.api.output_files import find_output as find_output
    from stepbus.api.prediction_files import write_predictions as write_predictions
    from stepbus.api.trainer import Trainer as Trainer
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        create="create_trainer",
        opening="open_trainer",
        output_files="find_output",
        prediction_files="write_predictions",
        trainer="Trainer",
    )
