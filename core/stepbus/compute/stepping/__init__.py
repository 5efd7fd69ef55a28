"""What a step is made of besides model and optimizer: what plugins chain, what follows an update, and loss scaling."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.compute.stepping.checks import checked_gradient as checked_gradient
    from stepbus.compute.stepping.checks import checked_loss as checked_loss
    from stepbus.compute.stepping.following import Follower as Follower
    from stepbus.compute.stepping.following import Followers as Followers
    from stepbus.compute.stepping.parts import Gradient as Gradient
    from stepbus.compute.stepping.parts import StepParts as StepParts
    from stepbus.compute.stepping.parts import packed as packed
    from stepbus.compute.stepping.parts import summed as summed
    from stepbus.compute.stepping.scaling import LossScale as LossScale
    from stepbus.compute.stepping.training import set_trained as set_trained
    from stepbus.compute.stepping.training import trainable_names as trainable_names
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        checks="checked_gradient checked_loss",
        following="Follower Followers",
        parts="Gradient StepParts packed summed",
        scaling="LossScale",
        training="set_trained trainable_names",
    )
