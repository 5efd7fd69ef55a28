"""Estimators for scikit-learn: StepbusClassifier and StepbusRegressor, also as `from stepbus import StepbusClassifier`.

They are no plugin of a run, but names that the package adds (entry points of group `stepbus.names`): this module, and
scikit-learn, whose classes they extend, are imported when somebody asks for one of them, and by nothing else.
"""

from __future__ import annotations

from stepbus_plugins.scikit_learn.estimators import StepbusClassifier as StepbusClassifier
from stepbus_plugins.scikit_learn.estimators import StepbusRegressor as StepbusRegressor
from stepbus_plugins.scikit_learn.inputs import EstimatorInputError as EstimatorInputError

__all__ = ["EstimatorInputError", "StepbusClassifier", "StepbusRegressor"]
