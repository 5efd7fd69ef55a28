"""A plugin that does something at one moment of a run: sends a signal, or begins to count file operations.

The moment stands in the environment, so that the configuration is the same with and without it: MOMENT is "HOOK FIT
STEP", SENT the signal's number, OPERATION the file operation after that moment, or 0 for the moment itself.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kill_points import die_before

from stepbus import hookimpl

DURABLE = ("checkpoint_retention", "on_checkpoint")


class Sender:
    """Do it once."""

    scope = "run"

    def __init__(self) -> None:
        hook, fit, step = os.environ.get("MOMENT", "never - 0").split()
        self.moment = (hook, "" if fit == "-" else fit, int(step))
        self.sent, self.operation = int(os.environ.get("SENT", "9")), int(os.environ.get("OPERATION", "0"))
        until = os.environ.get("UNTIL", "never - 0").split()
        self.until = (until[0], "" if until[1] == "-" else until[1], int(until[2]))
        self.counter: Any = None

    def _at(self, hook: str, fit: str = "", step: int = 0) -> None:
        now = (hook, fit, step)
        # Of a checkpoint, boundaries tell when it is durable: that one, or one that follows.
        late = hook in DURABLE and self.moment[:2] == now[:2] and step > self.moment[2]
        if now == self.moment or late:
            self.moment = ("never", "", 0)
            if self.operation or self.until[0] != "never":
                self.counter = die_before(self.operation, self.sent, os.environ.get("THREAD", ""))
            else:
                os.kill(os.getpid(), self.sent)
        elif now == self.until and self.counter is not None:
            Path(os.environ["COUNTED"]).write_text(str(next(self.counter) - 1))
            self.counter = None

    @hookimpl
    def expand_fits(self) -> None:
        self._at("expand_fits")

    @hookimpl
    def prepare_data(self, trainer: Any) -> None:
        self._at("prepare_data", trainer.fit_name)

    @hookimpl
    def validate_plan(self) -> None:
        self._at("validate_plan")

    @hookimpl
    def on_run_start(self) -> None:
        self._at("on_run_start")

    @hookimpl
    def transform_model(self, trainer: Any) -> None:
        self._at("transform_model", trainer.fit_name)

    @hookimpl
    def parameter_groups(self, trainer: Any) -> None:
        self._at("parameter_groups", trainer.fit_name)

    @hookimpl
    def wrap_loss(self, trainer: Any, loss: Any) -> Any:
        """Send while the step is traced, which is inside the first update."""
        fit = trainer.fit_name

        def wrapped(forward: Any, batch: Any) -> Any:
            self._at("tracing", fit)
            return loss(forward, batch)

        return wrapped

    def trace_key(self, trainer: Any) -> Any:
        return None

    @hookimpl
    def on_fit_start(self, trainer: Any, state: Any) -> None:
        self._at("on_fit_start", trainer.fit_name, state.step)

    @hookimpl
    def on_epoch_start(self, trainer: Any, state: Any) -> None:
        self._at("on_epoch_start", trainer.fit_name, state.step)

    @hookimpl
    def is_boundary(self, trainer: Any, step: int) -> None:
        self._at("is_boundary", trainer.fit_name, step)

    @hookimpl
    def on_step_end(self, trainer: Any, state: Any) -> None:
        self._at("on_step_end", trainer.fit_name, state.step)

    @hookimpl
    def on_log(self, trainer: Any, state: Any) -> None:
        self._at("on_log", trainer.fit_name, state.step)

    @hookimpl
    def on_evaluate_start(self, trainer: Any, state: Any) -> None:
        self._at("on_evaluate_start", trainer.fit_name, state.step)

    @hookimpl
    def on_predictions(self, trainer: Any, state: Any) -> None:
        self._at("on_predictions", trainer.fit_name, state.step)

    @hookimpl
    def on_evaluate(self, trainer: Any, state: Any) -> None:
        self._at("on_evaluate", trainer.fit_name, state.step)

    @hookimpl
    def on_metrics(self, trainer: Any, state: Any) -> None:
        self._at("on_metrics", trainer.fit_name, state.step)

    @hookimpl
    def on_epoch_end(self, trainer: Any, state: Any) -> None:
        self._at("on_epoch_end", trainer.fit_name, state.step)

    @hookimpl
    def transform_export(self, trainer: Any) -> None:
        self._at("transform_export", trainer.fit_name, trainer.state.step)

    @hookimpl(tryfirst=True)  # whoever answers is the last that is asked
    def checkpoint_retention(self, trainer: Any) -> None:
        self._at("checkpoint_retention", trainer.fit_name, trainer.state.step)

    @hookimpl
    def on_checkpoint(self, trainer: Any, state: Any) -> None:
        self._at("on_checkpoint", trainer.fit_name, state.step)

    @hookimpl
    def export_files(self, trainer: Any) -> None:
        self._at("export_files", trainer.fit_name)

    @hookimpl
    def on_fit_end(self, trainer: Any) -> None:
        self._at("on_fit_end", trainer.fit_name)

    @hookimpl
    def on_fit_result(self, result: Any) -> None:
        self._at("on_fit_result", result.fit.name)

    @hookimpl
    def on_result(self) -> None:
        self._at("on_result")

    @hookimpl
    def on_run_end(self) -> None:
        self._at("on_run_end")

    @hookimpl
    def on_close(self) -> None:
        self._at("on_close")
