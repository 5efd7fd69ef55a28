"""The parts of a fit as protocols: its data, what computes, and what keeps it; and what an update came to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.kernel.parts.protocols import Batch as Batch
    from stepbus.kernel.parts.protocols import Checkpointer as Checkpointer
    from stepbus.kernel.parts.protocols import FitData as FitData
    from stepbus.kernel.parts.protocols import LoopSettings as LoopSettings
    from stepbus.kernel.parts.protocols import ScoredSet as ScoredSet
    from stepbus.kernel.parts.protocols import Steps as Steps
    from stepbus.kernel.parts.step_result import StepResult as StepResult
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        protocols="Batch Checkpointer FitData LoopSettings ScoredSet Steps",
        step_result="StepResult",
    )
