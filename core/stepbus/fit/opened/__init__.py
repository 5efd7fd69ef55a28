"""A trained model's folder, opened: its configuration, the model, and what predicts with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.fit.opened.changed_code import other_code as other_code
    from stepbus.fit.opened.opening import OpenedModel as OpenedModel
    from stepbus.fit.opened.opening import open_model as open_model
    from stepbus.fit.opened.prediction_config import open_config as open_config
    from stepbus.fit.opened.prediction_config import plugin_tree as plugin_tree
    from stepbus.fit.opened.prediction_config import prediction_tree as prediction_tree
    from stepbus.fit.opened.predictor import Predictor as Predictor
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        opening="OpenedModel open_model",
        changed_code="other_code",
        prediction_config="open_config plugin_tree prediction_tree",
        predictor="Predictor",
    )
