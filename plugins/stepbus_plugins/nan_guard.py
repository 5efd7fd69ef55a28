"""A guard against divergence: a loss or a gradient that is no finite number never goes unnoticed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from attrs import define

from stepbus import StepbusError, StepResult, TrainingState, hookimpl, setting

if TYPE_CHECKING:
    from stepbus import Diagnosis

# What to try where nothing is known but whether a loss was ever finite.
ADVICE = {
    True: "look for broken inputs, targets or weights",
    False: "try a lower optimizer.learning_rate, a longer warm-up or gradient_clipping",
}


class NanGuard:
    """End a run, or warn, when the loss or a gradient is no longer a finite number.

    It says where that began. Such an update changes no weight, so it is computed once more, to name the first array
    that is not finite, its layer, and the rows of the batch. Where the loss is scaled, as float16 needs it, a gradient
    that overflows while the loss is finite is no divergence: the engine halves the scale, and only what overflows at
    the least scale counts.

    The weights themselves, with what averages them, are looked at after the last update and at each boundary, before
    anything is evaluated or kept. Under `warn` a run goes on: no checkpoint holds weights that are not finite, an
    export that does says so, and the last word of each fit counts the updates that changed nothing. Under `stop`, where
    the weights are not finite, those of the best evaluation are exported, if there is one.
    """

    asks: tuple[str, ...] = ("stop", "best")

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
        if config.policy != "stop":
            self.asks = ("stop",)  # so nobody keeps the best weights
        # Where a number that is none decides, no score does.
        self.selects = config.policy == "stop"
        self.bad_steps = 0
        self.last_loss: float | None = None
        self.last_step = 0
        self.good = False  # whether the last update was one of finite numbers
        self.looked_at = 0  # the update after which the weights were looked at last

    @hookimpl(trylast=True)  # when others have asked for what the boundary is to do
    def on_step_end(self, trainer: Any, state: TrainingState, step: StepResult) -> None:
        """Look at the loss and the gradient norm of the update, and at whether it was done."""
        self.good = self.is_good(step)
        if self.good:
            self.bad_steps, self.last_loss, self.last_step = 0, step.loss, state.step
            # No update follows the last one to show what that did to the weights, nor where the fit is to stop.
            if state.step == state.total_steps or trainer.control.pending:
                self.look_at_weights(trainer, state)
            return
        if step.overflow:
            return  # which the next scale may not have
        self.bad_steps += 1
        # Only once per streak: a diverged run would otherwise repeat itself at every step.
        if self.bad_steps != self.config.patience:
            return
        found = trainer.explain_step()
        self.act(trainer, self.describe(state, step, found), spoiled=found is not None and found.kind == "weight")

    @hookimpl
    def on_evaluate_start(self, trainer: Any, state: TrainingState) -> None:
        """Look at the weights before scores are made with them, of which some are numbers whatever the weights are."""
        self.look_at_weights(trainer, state)

    @hookimpl
    def on_epoch_end(self, trainer: Any, state: TrainingState) -> None:
        """Look at the weights before a checkpoint holds them, where nothing was evaluated."""
        self.look_at_weights(trainer, state)

    def look_at_weights(self, trainer: Any, state: TrainingState) -> None:
        """Act where a weight, or what averages it, is not finite after an update whose own numbers are; once a step."""
        if not self.good or state.step == self.looked_at:
            return
        self.looked_at = state.step
        if (found := trainer.explain_step()) is not None:
            message = f"the weights are not finite after step {state.step}; {found.words}; {found.advice}"
            self.act(trainer, message, spoiled=True)

    def act(self, trainer: Any, message: str, *, spoiled: bool) -> None:
        """Do what the policy says; weights that are spoiled are not those to stop with."""
        if self.config.policy == "raise":
            raise StepbusError(message)
        if self.config.policy == "stop":
            trainer.control.request_stop(message)
            if spoiled and trainer.state.best is not None and "best" not in trainer.control.refused:
                trainer.control.request_best("the weights are not finite")
        else:
            trainer.message(message, level="warning")

    def is_good(self, step: StepResult) -> bool:
        """Return whether an update was one of finite numbers."""
        norm = step.scalars.get("gradient_norm")
        return not step.skipped and math.isfinite(step.loss) and (norm is None or math.isfinite(norm))

    def describe(self, state: TrainingState, step: StepResult, found: Diagnosis | None = None) -> str:
        """Return one sentence: what is not finite, where that began, when it last was, and what to try.

        Args:
            state: Where the fit stands.
            step: The update.
            found: What computing it once more has shown; None where that cannot be done.
        """
        norm = step.scalars.get("gradient_norm")
        if math.isfinite(step.loss) and norm is not None and not math.isfinite(norm):
            what = f"the gradient norm is {norm} at step {state.step}"
        elif math.isfinite(step.loss) and found is not None and found.kind in ("update", "state"):
            what = f"the optimizer gives no finite number at step {state.step}"
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
        cause = "" if found is None else f"; {found.words}"
        mend = found.advice if found is not None else ADVICE[self.last_loss is None]
        return f"{what}{streak}{cause}; {before}; learning rate {step.learning_rate:.3g}; {mend}"

    def state_dict(self) -> dict[str, Any]:
        """Return the streak and the last finite loss."""
        return {"bad_steps": self.bad_steps, "last_loss": self.last_loss, "last_step": self.last_step}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.bad_steps, self.last_loss, self.last_step = saved["bad_steps"], saved["last_loss"], saved["last_step"]
