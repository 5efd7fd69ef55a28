"""The plan of a run: its fits, made by plugins, and every problem found before anything is created or loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.run.plans.axes import Grown as Grown
    from stepbus.run.plans.axes import declared as declared
    from stepbus.run.plans.axes import grows_of as grows_of
    from stepbus.run.plans.axes import misplaced as misplaced
    from stepbus.run.plans.filling import fill as fill
    from stepbus.run.plans.growing import ranked as ranked
    from stepbus.run.plans.plan import Plan as Plan
    from stepbus.run.plans.planning import plan_fits as plan_fits
    from stepbus.run.plans.planning import plan_problems as plan_problems
    from stepbus.run.plans.planning import plan_run as plan_run
    from stepbus.run.plans.planning import prepare_first as prepare_first
    from stepbus.run.plans.predicted import predicted_sets as predicted_sets
    from stepbus.run.plans.predicted import taking_part as taking_part
    from stepbus.run.plans.variants import Variant as Variant
    from stepbus.run.plans.variants import Variants as Variants
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        axes="Grown declared grows_of misplaced",
        filling="fill",
        growing="ranked",
        plan="Plan",
        planning="plan_fits plan_problems plan_run prepare_first",
        predicted="predicted_sets taking_part",
        variants="Variant Variants",
    )
