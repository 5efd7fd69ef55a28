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

    from stepbus.api.create import create_model as create_model
    from stepbus.api.create import create_trainer as create_trainer
    from stepbus.api.opening import open_run as open_run
    from stepbus.api.opening import open_trainer as open_trainer
    from stepbus.api.trainer import BaseTrainer as BaseTrainer
    from stepbus.api.trainer import Trainer as Trainer
    from stepbus.api.writing.prediction_files import write_columns as write_columns
    from stepbus.api.writing.prediction_files import write_decoded as write_decoded
    from stepbus.api.writing.prediction_files import write_predictions as write_predictions
    from stepbus.base.callback import Callback as Callback
    from stepbus.base.components import Component as Component
    from stepbus.base.components import Selected as Selected
    from stepbus.base.errors import BadInput as BadInput
    from stepbus.base.errors import CheckpointError as CheckpointError
    from stepbus.base.errors import ConfigError as ConfigError
    from stepbus.base.errors import DataError as DataError
    from stepbus.base.errors import ModelError as ModelError
    from stepbus.base.errors import PluginError as PluginError
    from stepbus.base.errors import PluginFailure as PluginFailure
    from stepbus.base.errors import StepbusError as StepbusError
    from stepbus.base.errors import did_you_mean as did_you_mean
    from stepbus.base.markers import hookimpl as hookimpl
    from stepbus.base.problems import Problem as Problem
    from stepbus.base.reading import parse_json as parse_json
    from stepbus.base.retention import Retention as Retention
    from stepbus.base.scoring.metric import Metric as Metric
    from stepbus.base.scoring.thresholds import decide as decide
    from stepbus.base.scoring.thresholds import is_threshold as is_threshold
    from stepbus.base.scoring.thresholds import threshold_problem as threshold_problem
    from stepbus.base.scoring.thresholds import thresholds_of as thresholds_of
    from stepbus.base.settings import component as component
    from stepbus.base.settings import setting as setting
    from stepbus.base.version import HOOKS_VERSION as HOOKS_VERSION
    from stepbus.base.version import __version__ as __version__
    from stepbus.base.wording import counted as counted
    from stepbus.base.wording import listed as listed
    from stepbus.compute.folders import find_folder as find_folder
    from stepbus.compute.folders import read_config as read_config
    from stepbus.compute.folders import read_tensors as read_tensors
    from stepbus.compute.losses import LossFacts as LossFacts
    from stepbus.compute.models.layers import depths_of as depths_of
    from stepbus.compute.models.layers import layers_of as layers_of
    from stepbus.compute.models.model import compose as compose
    from stepbus.compute.models.model_keys import check_keys as check_keys
    from stepbus.compute.models.model_keys import wrong_key as wrong_key
    from stepbus.compute.models.starting_values import starting_value as starting_value
    from stepbus.compute.optimizer import Optimizer as Optimizer
    from stepbus.compute.optimizer import hoist as hoist
    from stepbus.compute.optimizer import no_decay_names as no_decay_names
    from stepbus.compute.scheduler import Scheduler as Scheduler
    from stepbus.compute.stepping.updater import ParameterUpdater as ParameterUpdater
    from stepbus.compute.watching.findings import Diagnosis as Diagnosis
    from stepbus.config.by_name import get_trainer_config as get_trainer_config
    from stepbus.config.classes.rows import DataConfig as DataConfig
    from stepbus.config.classes.rows import LossConfig as LossConfig
    from stepbus.config.classes.rows import ModelConfig as ModelConfig
    from stepbus.config.classes.training import EnvironmentConfig as EnvironmentConfig
    from stepbus.config.classes.training import OptimizerConfig as OptimizerConfig
    from stepbus.config.classes.training import SchedulerConfig as SchedulerConfig
    from stepbus.config.classes.training import TrainingConfig as TrainingConfig
    from stepbus.config.discovery.plugins import import_module as import_module
    from stepbus.config.load import load_config as load_config
    from stepbus.config.sections import DataSettings as DataSettings
    from stepbus.config.sections import EnvironmentSettings as EnvironmentSettings
    from stepbus.config.sections import LossSettings as LossSettings
    from stepbus.config.sections import ModelSettings as ModelSettings
    from stepbus.config.sections import OptimizerSettings as OptimizerSettings
    from stepbus.config.sections import SchedulerSettings as SchedulerSettings
    from stepbus.config.sections import TrainingSettings as TrainingSettings
    from stepbus.device.backend import cpu_streams as cpu_streams
    from stepbus.device.backend import describe_machine as describe_machine
    from stepbus.device.backend import mx as mx
    from stepbus.device.backend import row_streams as row_streams
    from stepbus.device.choice import effective_precision as effective_precision
    from stepbus.fit.predicting.means import mean_predictions as mean_predictions
    from stepbus.kernel import protocols as protocols
    from stepbus.kernel.control import Control as Control
    from stepbus.kernel.fits.fit import Axis as Axis
    from stepbus.kernel.fits.fit import Fit as Fit
    from stepbus.kernel.fits.results import FitResult as FitResult
    from stepbus.kernel.fits.results import Predictions as Predictions
    from stepbus.kernel.fits.results import TrainingResult as TrainingResult
    from stepbus.kernel.parts.step_result import StepResult as StepResult
    from stepbus.kernel.protocols import Run as Run
    from stepbus.kernel.protocols import Session as Session
    from stepbus.kernel.state import TrainingState as TrainingState
    from stepbus.plan.memory import check_room as check_room
    from stepbus.plan.memory import file_shapes as file_shapes
    from stepbus.run.plans.growing import grow as grow
    from stepbus.run.plans.plan import Plan as Plan
    from stepbus.storage.durable import write_bytes_atomically as write_bytes_atomically
    from stepbus.storage.durable import write_text_atomically as write_text_atomically
    from stepbus.text.encoder import TextSource as TextSource
    from stepbus.text.labels.class_order import class_order as class_order
    from stepbus.text.labels.codec import LabelCodec as LabelCodec
    from stepbus.text.labels.columns import Column as Column
    from stepbus.text.labels.numbers import label_counts as label_counts
    from stepbus.text.rows.parts.joining import join_rows as join_rows
    from stepbus.text.rows.sources import Reader as Reader
    from stepbus.text.rows.sources import Source as Source
    from stepbus.text.rows.sources import Table as Table
    from stepbus.text.rows.table import Rows as Rows
    from stepbus.text.tokens.folder import vocabulary_rows as vocabulary_rows

# Public name -> the module that defines it.
_HOME = {
    "Axis": "kernel.fits.fit",
    "BadInput": "base.errors",
    "BaseTrainer": "api.trainer",
    "Callback": "base.callback",
    "CheckpointError": "base.errors",
    "Column": "text.labels.columns",
    "Component": "base.components",
    "ConfigError": "base.errors",
    "Control": "kernel.control",
    "DataConfig": "config.classes.rows",
    "DataSettings": "config.sections",
    "DataError": "base.errors",
    "EnvironmentConfig": "config.classes.training",
    "Diagnosis": "compute.watching.findings",
    "EnvironmentSettings": "config.sections",
    "Fit": "kernel.fits.fit",
    "FitResult": "kernel.fits.results",
    "HOOKS_VERSION": "base.version",
    "LabelCodec": "text.labels.codec",
    "LossConfig": "config.classes.rows",
    "LossSettings": "config.sections",
    "LossFacts": "compute.losses",
    "Metric": "base.scoring.metric",
    "ModelConfig": "config.classes.rows",
    "ModelSettings": "config.sections",
    "ModelError": "base.errors",
    "Optimizer": "compute.optimizer",
    "OptimizerConfig": "config.classes.training",
    "OptimizerSettings": "config.sections",
    "ParameterUpdater": "compute.stepping.updater",
    "Plan": "run.plans.plan",
    "PluginError": "base.errors",
    "PluginFailure": "base.errors",
    "Predictions": "kernel.fits.results",
    "Problem": "base.problems",
    "Reader": "text.rows.sources",
    "Retention": "base.retention",
    "Rows": "text.rows.table",
    "Run": "kernel.protocols",
    "Scheduler": "compute.scheduler",
    "SchedulerConfig": "config.classes.training",
    "SchedulerSettings": "config.sections",
    "Selected": "base.components",
    "Session": "kernel.protocols",
    "Source": "text.rows.sources",
    "StepResult": "kernel.parts.step_result",
    "StepbusError": "base.errors",
    "Table": "text.rows.sources",
    "TextSource": "text.encoder",
    "Trainer": "api.trainer",
    "TrainingConfig": "config.classes.training",
    "TrainingResult": "kernel.fits.results",
    "TrainingSettings": "config.sections",
    "TrainingState": "kernel.state",
    "__version__": "base.version",
    "check_keys": "compute.models.model_keys",
    "check_room": "plan.memory",
    "class_order": "text.labels.class_order",
    "component": "base.settings",
    "compose": "compute.models.model",
    "counted": "base.wording",
    "cpu_streams": "device.backend",
    "create_model": "api.create",
    "create_trainer": "api.create",
    "depths_of": "compute.models.layers",
    "decide": "base.scoring.thresholds",
    "describe_machine": "device.backend",
    "did_you_mean": "base.errors",
    "effective_precision": "device.choice",
    "file_shapes": "plan.memory",
    "find_folder": "compute.folders",
    "get_trainer_config": "config.by_name",
    "grow": "run.plans.growing",
    "hoist": "compute.optimizer",
    "hookimpl": "base.markers",
    "import_module": "config.discovery.plugins",
    "is_threshold": "base.scoring.thresholds",
    "join_rows": "text.rows.parts.joining",
    "label_counts": "text.labels.numbers",
    "layers_of": "compute.models.layers",
    "listed": "base.wording",
    "load_config": "config.load",
    "mean_predictions": "fit.predicting.means",
    "mx": "device.backend",
    "no_decay_names": "compute.optimizer",
    "open_run": "api.opening",
    "open_trainer": "api.opening",
    "protocols": "kernel",
    "parse_json": "base.reading",
    "read_config": "compute.folders",
    "read_tensors": "compute.folders",
    "row_streams": "device.backend",
    "setting": "base.settings",
    "starting_value": "compute.models.starting_values",
    "threshold_problem": "base.scoring.thresholds",
    "thresholds_of": "base.scoring.thresholds",
    "vocabulary_rows": "text.tokens.folder",
    "write_bytes_atomically": "storage.durable",
    "write_columns": "api.writing.prediction_files",
    "write_decoded": "api.writing.prediction_files",
    "write_predictions": "api.writing.prediction_files",
    "write_text_atomically": "storage.durable",
    "wrong_key": "compute.models.model_keys",
}

# Modules that import MLX.
_NEEDS_MLX = {
    "api.create",
    "api.opening",
    "compute.folders",
    "compute.models.starting_values",
    "compute.models.layers",
    "compute.models.model",
    "compute.optimizer",
    "compute.stepping.updater",
    "api.trainer",
    "plan.memory",
    "run.outer_loop",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    import importlib

    if name not in _HOME:  # packages may add names: the entry points of the group stepbus.names
        return importlib.import_module("stepbus.config.discovery.package_names").find(name)
    if _HOME[name] in _NEEDS_MLX:
        importlib.import_module("stepbus.device.backend")  # the fast BLAS goes in front before MLX is imported
    if name == "protocols":
        importlib.import_module("stepbus.kernel.protocols")  # a module, which its package has once it was imported
    return getattr(importlib.import_module(f"stepbus.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    import importlib

    return [*__all__, *importlib.import_module("stepbus.config.discovery.package_names").names()]
