"""What a training step of a plugin's or of the trainer's own class does not go with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from stepbus.base import Problem
from stepbus.kernel import Member, hooks_of

if TYPE_CHECKING:
    from stepbus.config import Config

# Hook -> what it changes of the engine's own step, which is never done.
OF_THE_ENGINE = {"wrap_loss": "the loss", "wrap_gradient": "the gradient"}


def own_step_problems(config: Config, members: Iterable[Member]) -> Iterator[Problem]:
    """Yield a problem for each thing that would have no effect beside a training step of somebody's own.

    Args:
        config: The configuration of the fits.
        members: Their plugins.
    """
    # One that says that it takes no part only looks on.
    taking = [each for each in members if not each.disabled and getattr(each.plugin, "affects_result", True)]
    hooks = {member: set(hooks_of(member.plugin, member.label)) for member in taking}
    own = [member for member, known in hooks.items() if "training_step" in known]
    if not own:
        return
    first, *others = own
    said = f"{first.label} makes the training step (training_step)"
    windows = config.training.gradient_accumulation_steps
    if windows > 1:
        yield Problem(
            "training.gradient_accumulation_steps",
            f"expected 1, because {said}, an update of each batch, got {windows}; leave it out, or that step",
        )
    for other in others:
        yield _between(config, said, other, "would make another one (training_step)")
    for member, known in hooks.items():
        for hook, what in OF_THE_ENGINE.items():
            if hook in known:
                yield _between(config, said, member, f"changes {what} of the engine's own step ({hook})")


def _between(config: Config, said: str, other: Member, does: str) -> Problem:
    named = any(choice.name == other.name for choice in config.plugins)
    words = f"{said}, and {other.label} {does}, which would never be called; do without one of them"
    return Problem(f"plugins.{other.name}" if named else "", words)
