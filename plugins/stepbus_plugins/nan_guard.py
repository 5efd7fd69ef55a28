"""A guard against divergence: a loss or a gradient that is no finite number never goes unnoticed."""

from __future__ import annotations

import math
from typing import Any, Literal

from attrs import define

from stepbus import StepbusError, StepResult, TrainingState, hookimpl, setting


class NanGuard:
    """End a run, or warn, when the loss or a gradient is no longer a finite number.

    Such an update changes no weight. Where the loss is scaled, as float16 needs it, an overflow is no divergence: the
    engine halves the scale, and only what overflows at the least scale counts.
    """

    asks = ("stop",)
    selects = False  # a number that is none decides, no score

    @define(frozen=True, kw_only=True)
    class Config:
        policy: Literal["raise", "stop", "warn"] = setting(
            "raise", "raise ends the run with an error, stop ends the fit as early_stopping does, warn goes on"
        )
        patience: int = setting(
            1,
            "bad steps in a row before it acts",
            check=lambda value: value >= 1,
            expected="a whole number of at least 1",
        )

    def __init__(self, config: Config) -> None:
        self.config = config
        self.bad_steps = 0
        self.last_loss: float | None = None
        self.last_step = 0

    @hookimpl
    def on_step_end(self, trainer: Any, state: TrainingState, step: StepResult) -> None:
        """Look at the loss and the gradient norm of the update, and at whether it was done."""
        if self.is_good(step):
            self.bad_steps, self.last_loss, self.last_step = 0, step.loss, state.step
            return
        self.bad_steps += 1
        # Only once per streak: a diverged run would otherwise repeat itself at every step.
        if self.bad_steps != self.config.patience:
            return
        message = self.describe(state, step)
        if self.config.policy == "raise":
            raise StepbusError(message)
        if self.config.policy == "stop":
            trainer.control.request_stop(message)
        else:
            trainer.message(message, level="warning")

    def is_good(self, step: StepResult) -> bool:
        """Return whether an update was one of finite numbers."""
        if step.loss_scale is not None and step.loss_scale > 1:
            return True  # an overflow, if any, which the next scale may not have
        norm = step.scalars.get("gradient_norm")
        return not step.skipped and math.isfinite(step.loss) and (norm is None or math.isfinite(norm))

    def describe(self, state: TrainingState, step: StepResult) -> str:
        """Return one sentence: what is not finite, when it last was, and what to try."""
        norm = step.scalars.get("gradient_norm")
        if math.isfinite(step.loss) and norm is not None and not math.isfinite(norm):
            what = f"the gradient norm is {norm} at step {state.step}"
        elif math.isfinite(step.loss):
            what = f"a gradient is no finite number at step {state.step}"
        else:
            what = f"the loss is {step.loss} at step {state.step}"
        streak = f" ({self.bad_steps} bad steps in a row)" if self.bad_steps > 1 else ""
        before = (
            "it was never finite"
            if self.last_loss is None
            else f"the last finite loss was {self.last_loss:.6g} at step {self.last_step}"
        )
        mend = (
            "look for broken inputs, targets or weights"
            if self.last_loss is None
            else "try a lower optimizer.learning_rate, a longer warm-up or gradient_clipping"
        )
        return f"{what}{streak}; {before}; learning rate {step.learning_rate:.3g}; {mend}"

    def state_dict(self) -> dict[str, Any]:
        """Return the streak and the last finite loss."""
        return {"bad_steps": self.bad_steps, "last_loss": self.last_loss, "last_step": self.last_step}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.bad_steps, self.last_loss, self.last_step = saved["bad_steps"], saved["last_loss"], saved["last_step"]
