"""The compiled steps of a fit: what plugins chain in them, what follows an update, what fits that are alike share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.compute.stepping.checks import checked_gradient as checked_gradient
    from stepbus.compute.stepping.checks import checked_loss as checked_loss
    from stepbus.compute.stepping.fingerprints import leaves as leaves
    from stepbus.compute.stepping.following import Follower as Follower
    from stepbus.compute.stepping.naming import Givers as Givers
    from stepbus.compute.stepping.own_step import StepOptimizer as StepOptimizer
    from stepbus.compute.stepping.parts import Gradient as Gradient
    from stepbus.compute.stepping.parts import StepParts as StepParts
    from stepbus.compute.stepping.sharing import Shared as Shared
    from stepbus.compute.stepping.steps import CompiledSteps as CompiledSteps
    from stepbus.compute.stepping.steps import mix as mix
    from stepbus.compute.stepping.steps import to_device as to_device
    from stepbus.compute.stepping.training import set_trained as set_trained
    from stepbus.compute.stepping.training import trainable_names as trainable_names
    from stepbus.compute.stepping.updater import ParameterUpdater as ParameterUpdater
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        checks="checked_gradient checked_loss",
        fingerprints="leaves",
        following="Follower",
        naming="Givers",
        own_step="StepOptimizer",
        parts="Gradient StepParts",
        sharing="Shared",
        steps="CompiledSteps mix to_device",
        training="set_trained trainable_names",
        updater="ParameterUpdater",
    )
