"""The loop and the bus: engine, events, state, fits and their protocols; no MLX, no files, no rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.kernel.bus import Bus as Bus
    from stepbus.kernel.control import Control as Control
    from stepbus.kernel.control import Request as Request
    from stepbus.kernel.engine import run_fit as run_fit
    from stepbus.kernel.events import BUILD_HOOKS as BUILD_HOOKS
    from stepbus.kernel.events import FIRST_DECIDES as FIRST_DECIDES
    from stepbus.kernel.events import PREDICTION_HOOKS as PREDICTION_HOOKS
    from stepbus.kernel.events import RUN_HOOKS as RUN_HOOKS
    from stepbus.kernel.fits import AXES as AXES
    from stepbus.kernel.fits import Axis as Axis
    from stepbus.kernel.fits import Fit as Fit
    from stepbus.kernel.fits import FitResult as FitResult
    from stepbus.kernel.fits import Lineage as Lineage
    from stepbus.kernel.fits import Predictions as Predictions
    from stepbus.kernel.fits import groups_along as groups_along
    from stepbus.kernel.fits import grown_axes as grown_axes
    from stepbus.kernel.hook_checks import RESULTS as RESULTS
    from stepbus.kernel.hook_checks import SPECIFICATIONS as SPECIFICATIONS
    from stepbus.kernel.hook_checks import hooks_of as hooks_of
    from stepbus.kernel.measuring import LOGGED as LOGGED
    from stepbus.kernel.measuring import Cost as Cost
    from stepbus.kernel.measuring import Meter as Meter
    from stepbus.kernel.measuring import Times as Times
    from stepbus.kernel.member import Member as Member
    from stepbus.kernel.member import check_policy as check_policy
    from stepbus.kernel.parts import Batch as Batch
    from stepbus.kernel.parts import Checkpointer as Checkpointer
    from stepbus.kernel.parts import FitData as FitData
    from stepbus.kernel.parts import LoopSettings as LoopSettings
    from stepbus.kernel.parts import ScoredSet as ScoredSet
    from stepbus.kernel.parts import StepResult as StepResult
    from stepbus.kernel.parts import Steps as Steps
    from stepbus.kernel.protocols import Plan as Plan
    from stepbus.kernel.protocols import Run as Run
    from stepbus.kernel.protocols import Session as Session
    from stepbus.kernel.state import Best as Best
    from stepbus.kernel.state import TrainingState as TrainingState
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        bus="Bus",
        engine="run_fit",
        events="BUILD_HOOKS FIRST_DECIDES PREDICTION_HOOKS RUN_HOOKS",
        fits="AXES Axis Fit FitResult Lineage Predictions groups_along grown_axes",
        hook_checks="RESULTS SPECIFICATIONS hooks_of",
        measuring="Cost LOGGED Meter Times",
        member="Member check_policy",
        parts="Batch Checkpointer FitData LoopSettings ScoredSet StepResult Steps",
        protocols="Plan Run Session",
        control="Control Request",
        state="Best TrainingState",
    )
