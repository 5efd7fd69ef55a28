"""stepbus fine-tunes BERT-type encoders on Apple's MLX: a step engine that emits events, and every feature a plugin.

The names below are the public ones; they are imported on first use, so that the command line answers at once.
"""

from __future__ import annotations

import os
import sys

_main = sys.modules["__main__"]
if _main.__name__ == "__main__" and os.path.basename(getattr(_main, "__file__", None) or "") == "stepbus":  # noqa: PTH119
    # The program `stepbus`: until its `main` has handlers, nothing is begun, and a signal ends it with the same words.
    import signal

    def _end(number: int, _: object) -> None:
        os.write(2, b"stepbus: interrupted\n")
        os._exit(128 + number)

    for _number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(_number, _end)

TYPE_CHECKING = False  # `typing` would take longer to import than all the rest, with no answer to a signal yet
if TYPE_CHECKING:
    from typing import Any

    from stepbus.backend import cpu_streams as cpu_streams
    from stepbus.backend import describe_machine as describe_machine
    from stepbus.backend import row_streams as row_streams
    from stepbus.callback import Callback as Callback
    from stepbus.checkpoints import Retention as Retention
    from stepbus.components import Component as Component
    from stepbus.components import Selected as Selected
    from stepbus.config import get_trainer_config as get_trainer_config
    from stepbus.config import load_config as load_config
    from stepbus.create import create_model as create_model
    from stepbus.create import create_trainer as create_trainer
    from stepbus.dataset import TextSource as TextSource
    from stepbus.durable import write_text_atomically as write_text_atomically
    from stepbus.errors import BadInput as BadInput
    from stepbus.errors import CheckpointError as CheckpointError
    from stepbus.errors import ConfigError as ConfigError
    from stepbus.errors import DataError as DataError
    from stepbus.errors import ModelError as ModelError
    from stepbus.errors import PluginError as PluginError
    from stepbus.errors import PluginFailure as PluginFailure
    from stepbus.errors import Problem as Problem
    from stepbus.errors import StepbusError as StepbusError
    from stepbus.errors import did_you_mean as did_you_mean
    from stepbus.fits import Fit as Fit
    from stepbus.fits import FitResult as FitResult
    from stepbus.fits import Plan as Plan
    from stepbus.fits import Predictions as Predictions
    from stepbus.folders import find_folder as find_folder
    from stepbus.folders import read_config as read_config
    from stepbus.folders import read_tensors as read_tensors
    from stepbus.label_numbers import label_counts as label_counts
    from stepbus.labels import LabelCodec as LabelCodec
    from stepbus.markers import hookimpl as hookimpl
    from stepbus.memory import check_room as check_room
    from stepbus.memory import file_shapes as file_shapes
    from stepbus.metric import Metric as Metric
    from stepbus.model import compose as compose
    from stepbus.model_keys import check_keys as check_keys
    from stepbus.model_keys import wrong_key as wrong_key
    from stepbus.opening import open_trainer as open_trainer
    from stepbus.optimizer import Optimizer as Optimizer
    from stepbus.optimizer import ParameterUpdater as ParameterUpdater
    from stepbus.optimizer import hoist as hoist
    from stepbus.optimizer import no_decay_names as no_decay_names
    from stepbus.plugins import import_module as import_module
    from stepbus.prediction_files import write_columns as write_columns
    from stepbus.prediction_files import write_predictions as write_predictions
    from stepbus.result_columns import Column as Column
    from stepbus.rows import Rows as Rows
    from stepbus.run import Run as Run
    from stepbus.scheduler import Scheduler as Scheduler
    from stepbus.sections import DataConfig as DataConfig
    from stepbus.sections import EnvironmentConfig as EnvironmentConfig
    from stepbus.sections import ModelConfig as ModelConfig
    from stepbus.sections import OptimizerConfig as OptimizerConfig
    from stepbus.sections import SchedulerConfig as SchedulerConfig
    from stepbus.sections import TrainingConfig as TrainingConfig
    from stepbus.settings import component as component
    from stepbus.settings import setting as setting
    from stepbus.state import Control as Control
    from stepbus.state import StepResult as StepResult
    from stepbus.state import TrainingState as TrainingState
    from stepbus.tokenizer_folder import vocabulary_rows as vocabulary_rows
    from stepbus.trainer import Trainer as Trainer
    from stepbus.wording import counted as counted
    from stepbus.wording import listed as listed

__version__ = "0.1.0"

# Public name -> the module that defines it.
_HOME = {
    "BadInput": "errors",
    "Callback": "callback",
    "CheckpointError": "errors",
    "Column": "result_columns",
    "Component": "components",
    "ConfigError": "errors",
    "Control": "state",
    "DataConfig": "sections",
    "DataError": "errors",
    "EnvironmentConfig": "sections",
    "Fit": "fits",
    "FitResult": "fits",
    "LabelCodec": "labels",
    "Metric": "metric",
    "ModelConfig": "sections",
    "ModelError": "errors",
    "Optimizer": "optimizer",
    "OptimizerConfig": "sections",
    "ParameterUpdater": "optimizer",
    "Plan": "fits",
    "PluginError": "errors",
    "PluginFailure": "errors",
    "Predictions": "fits",
    "Problem": "errors",
    "Retention": "checkpoints",
    "Rows": "rows",
    "Run": "run",
    "Scheduler": "scheduler",
    "SchedulerConfig": "sections",
    "Selected": "components",
    "StepResult": "state",
    "StepbusError": "errors",
    "TextSource": "dataset",
    "Trainer": "trainer",
    "TrainingConfig": "sections",
    "TrainingState": "state",
    "check_keys": "model_keys",
    "check_room": "memory",
    "component": "settings",
    "compose": "model",
    "counted": "wording",
    "cpu_streams": "backend",
    "create_model": "create",
    "create_trainer": "create",
    "describe_machine": "backend",
    "did_you_mean": "errors",
    "file_shapes": "memory",
    "find_folder": "folders",
    "get_trainer_config": "config",
    "hoist": "optimizer",
    "hookimpl": "markers",
    "import_module": "plugins",
    "label_counts": "label_numbers",
    "listed": "wording",
    "load_config": "config",
    "no_decay_names": "optimizer",
    "open_trainer": "opening",
    "read_config": "folders",
    "read_tensors": "folders",
    "row_streams": "backend",
    "setting": "settings",
    "vocabulary_rows": "tokenizer_folder",
    "write_columns": "prediction_files",
    "write_predictions": "prediction_files",
    "write_text_atomically": "durable",
    "wrong_key": "model_keys",
}

# Modules that import MLX.
_NEEDS_MLX = {"checkpoints", "create", "folders", "memory", "model", "opening", "optimizer", "run", "trainer"}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'stepbus' has no attribute {name!r}")
    import importlib

    if _HOME[name] in _NEEDS_MLX:
        importlib.import_module("stepbus.backend")  # the fast BLAS goes in front before MLX is imported
    return getattr(importlib.import_module(f"stepbus.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
