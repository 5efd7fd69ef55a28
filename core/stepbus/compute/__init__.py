"""What needs MLX: models and their folders, optimizer, scheduler, compiled steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.compute.folders import INDEX as INDEX
    from stepbus.compute.folders import MAX_INDEX as MAX_INDEX
    from stepbus.compute.folders import WEIGHTS as WEIGHTS
    from stepbus.compute.folders import find_folder as find_folder
    from stepbus.compute.folders import read_config as read_config
    from stepbus.compute.folders import read_tensors as read_tensors
    from stepbus.compute.forward import Arrays as Arrays
    from stepbus.compute.forward import Forward as Forward
    from stepbus.compute.forward import HeadForward as HeadForward
    from stepbus.compute.held_arrays import detach as detach
    from stepbus.compute.held_arrays import references as references
    from stepbus.compute.losses import LossFacts as LossFacts
    from stepbus.compute.losses import LossFunction as LossFunction
    from stepbus.compute.losses import built_loss as built_loss
    from stepbus.compute.lowering import lowered as lowered
    from stepbus.compute.module_forward import Loss as Loss
    from stepbus.compute.module_forward import ModuleForward as ModuleForward
    from stepbus.compute.optimizer import Optimizer as Optimizer
    from stepbus.compute.optimizer import Scalars as Scalars
    from stepbus.compute.optimizer import hoist as hoist
    from stepbus.compute.replacing import own_files as own_files
    from stepbus.compute.scaling import LEAST_SCALE as LEAST_SCALE
    from stepbus.compute.scaling import LossScale as LossScale
    from stepbus.compute.scheduler import Scheduler as Scheduler
    from stepbus.compute.scheduler import warmup_steps as warmup_steps
    from stepbus.compute.stepping import CompiledSteps as CompiledSteps
    from stepbus.compute.stepping import ParameterUpdater as ParameterUpdater
    from stepbus.compute.stepping import Shared as Shared
    from stepbus.compute.stepping import StepParts as StepParts
    from stepbus.compute.stepping import leaves as leaves
    from stepbus.compute.stepping import mix as mix
    from stepbus.compute.streams import shared_out as shared_out
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        folders="INDEX MAX_INDEX WEIGHTS find_folder read_config read_tensors",
        forward="Arrays Forward HeadForward",
        held_arrays="detach references",
        losses="LossFacts LossFunction built_loss",
        lowering="lowered",
        module_forward="Loss ModuleForward",
        optimizer="Optimizer Scalars hoist",
        replacing="own_files",
        scaling="LEAST_SCALE LossScale",
        scheduler="Scheduler warmup_steps",
        streams="shared_out",
        stepping="CompiledSteps ParameterUpdater Shared StepParts leaves mix",
    )
