"""One fit from description to result: its members, its session, evaluation, checkpoints and export."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.fit.builder import Exported as Exported
    from stepbus.fit.builder import FitBuilder as FitBuilder
    from stepbus.fit.builder import Fitting as Fitting
    from stepbus.fit.computing import computing_facts as computing_facts
    from stepbus.fit.computing import conditions_of as conditions_of
    from stepbus.fit.effects import by_training_alone as by_training_alone
    from stepbus.fit.effects import loop_notes as loop_notes
    from stepbus.fit.effects import run_notes as run_notes
    from stepbus.fit.effects import unevaluated as unevaluated
    from stepbus.fit.evaluation import joined as joined
    from stepbus.fit.evaluation import metric_values as metric_values
    from stepbus.fit.evaluation import predict as predict
    from stepbus.fit.evaluation import score as score
    from stepbus.fit.evaluation import softmax_twice as softmax_twice
    from stepbus.fit.evaluation import unweighed as unweighed
    from stepbus.fit.members import PASSED as PASSED
    from stepbus.fit.members import Prototype as Prototype
    from stepbus.fit.members import exclusions as exclusions
    from stepbus.fit.members import for_fit as for_fit
    from stepbus.fit.members import make as make
    from stepbus.fit.members import plugin_table as plugin_table
    from stepbus.fit.members import prototypes as prototypes
    from stepbus.fit.members import run_scoped as run_scoped
    from stepbus.fit.members import source_digest as source_digest
    from stepbus.fit.members import version_of as version_of
    from stepbus.fit.scoring import rehearse as rehearse
    from stepbus.fit.session import FitSession as FitSession
    from stepbus.fit.switched_off import disabled_of as disabled_of
    from stepbus.fit.switched_off import keep_disabled as keep_disabled
    from stepbus.fit.texts import TextFits as TextFits
    from stepbus.fit.texts import config_model as config_model
    from stepbus.fit.texts import known_config as known_config
    from stepbus.fit.texts import new_encoder as new_encoder
    from stepbus.fit.texts import text_of as text_of
    from stepbus.fit.weights import digest_at_start as digest_at_start
    from stepbus.fit.weights import put_tensors as put_tensors
    from stepbus.fit.weights import tensors_of as tensors_of
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        builder="Exported FitBuilder Fitting",
        computing="computing_facts conditions_of",
        effects="by_training_alone loop_notes run_notes unevaluated",
        evaluation="joined metric_values predict score softmax_twice unweighed",
        members="PASSED Prototype exclusions for_fit make plugin_table prototypes run_scoped source_digest version_of",
        scoring="rehearse",
        session="FitSession",
        switched_off="disabled_of keep_disabled",
        texts="TextFits config_model known_config new_encoder text_of",
        weights="digest_at_start put_tensors tensors_of",
    )
