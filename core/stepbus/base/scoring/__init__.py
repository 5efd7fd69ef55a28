"""Metrics of one's own, and what probabilities come to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.base.scoring.metric import Metric as Metric
    from stepbus.base.scoring.metric import metric_given as metric_given
    from stepbus.base.scoring.metric import weights_argument as weights_argument
    from stepbus.base.scoring.metric import weights_for as weights_for
    from stepbus.base.scoring.metric import with_metrics as with_metrics
    from stepbus.base.scoring.thresholds import Threshold as Threshold
    from stepbus.base.scoring.thresholds import decide as decide
    from stepbus.base.scoring.thresholds import is_threshold as is_threshold
    from stepbus.base.scoring.thresholds import thresholds_of as thresholds_of
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        metric="Metric metric_given weights_argument weights_for with_metrics",
        thresholds="Threshold decide is_threshold thresholds_of",
    )
