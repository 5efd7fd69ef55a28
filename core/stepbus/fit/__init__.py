"""One fit from description to result: its members, its session, evaluation, checkpoints and export."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.fit.assembly import count_steps as count_steps
    from stepbus.fit.assembly import epoch_shapes as epoch_shapes
    from stepbus.fit.assembly import serving_members as serving_members
    from stepbus.fit.effects import refusals as refusals
    from stepbus.fit.effects import run_notes as run_notes
    from stepbus.fit.effects import unevaluated as unevaluated
    from stepbus.fit.evaluation import evaluate_monitored as evaluate_monitored
    from stepbus.fit.members import exclusions as exclusions
    from stepbus.fit.members import for_fit as for_fit
    from stepbus.fit.members import make as make
    from stepbus.fit.members import plugin_table as plugin_table
    from stepbus.fit.members import prototypes as prototypes
    from stepbus.fit.members import restore_state as restore_state
    from stepbus.fit.members import run_scoped as run_scoped
    from stepbus.fit.members import state_of as state_of
    from stepbus.fit.prediction_config import UntrustedError as UntrustedError
    from stepbus.fit.prediction_config import open_config as open_config
    from stepbus.fit.session import Trainer as Trainer
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        assembly="count_steps epoch_shapes serving_members",
        effects="refusals run_notes unevaluated",
        evaluation="evaluate_monitored",
        members="exclusions for_fit make plugin_table prototypes restore_state run_scoped state_of",
        prediction_config="UntrustedError open_config",
        session="Trainer",
    )
