"""One fit in progress, made anew for each fit and each `train` and never used again; hooks get it as `trainer`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepbus.base import REQUESTS, raise_first
from stepbus.base.guards import AssignedByCore, ReadOnlyDict, hand_over
from stepbus.fit import best_weights, checkpointing, ending, evaluation, exporting
from stepbus.fit.computing import explained, steps_ahead
from stepbus.fit.members import for_fit
from stepbus.fit.predicting import prepared_fit
from stepbus.fit.saving import SavesByHand, tell_epochs
from stepbus.fit.scoring import named_directions
from stepbus.fit.seen import lineage_of, put_lineage, trained_on, watch_reading
from stepbus.fit.switched_off import disabled_of
from stepbus.fit.using import settle_at_last
from stepbus.kernel import Bus, FitResult, Lineage, Times, TrainingState, run_fit

if TYPE_CHECKING:
    from pluggy import HookRelay

    from stepbus.base import Caller
    from stepbus.fit.builder import FitBuilder
    from stepbus.fit.members import Prototype
    from stepbus.kernel import Checkpointer, Fit, FitData, LoopSettings, Meter, Predictions, Run, Steps


class FitSession(SavesByHand, AssignedByCore):
    """One fit, from description to result. The order of making is that of the methods.

    What hooks read of it is listed in `stepbus.Session`; core alone assigns any of it.

    Args:
        run: The run.
        fit: What to do.
        builder: What makes its parts.
        members: The prototypes of the plugins, those of the run's own scope shared by all fits.
        extras: The objects among them that the caller passed.
        meter: What counts the time of plugins.
        caller: Knows whose hook is running.
    """

    named, mode = "trainer", "train"

    data: FitData
    prepared: Fit
    model: Any
    optimizer: Any
    phases: Mapping[int, Sequence[str]]
    steps: Steps

    def __init__(
        self,
        run: Run,
        fit: Fit,
        builder: FitBuilder,
        members: Sequence[Prototype],
        extras: Sequence[Any] = (),
        meter: Meter | None = None,
        caller: Caller | None = None,
    ) -> None:
        fit.seal()
        self.run, self.fit, self.builder = run, fit, builder
        self.config: Any = builder.config
        self.directory, self.members = run.directory_of(fit), tuple(members)
        self.monitor: str = builder.config.training.monitor
        self.state, self.control = TrainingState(), builder.control()
        self.control.caller = caller or self.control.caller
        self.control.refused = dict.fromkeys(REQUESTS, "no fit has begun; ask in on_fit_start or later")
        hand_over(self.state)
        hand_over(self.control)
        self.parts = dict(builder.parts())
        serving = for_fit(members, list(self.parts.items()), alone=run.alone, extras=extras)
        self.bus = Bus(serving, self.control, meter)
        self.bus.on_disabled, self.bus.locate = lambda text: self.message(text, "warning"), self.config.locate
        self.disk: Checkpointer = builder.checkpointer()
        self.metrics: list[tuple[str, Any]] = []
        self.directions: dict[str, bool | None] = {}
        self.best_arrays: dict[str, Any] = {}
        self.scored: dict[str, tuple[Predictions, dict[str, float]]] = {}
        self.averages, self.not_of_step = False, ""
        self.origin, self.before = exporting.Origin(), Lineage()
        self.traces, self.times = 0, Times(self.bus.meter)  # traces of the phases before the present one
        # Who asked for a checkpoint last, and whether it was refused.
        self.asked_by, self.unsaved = "", False
        self.cut = False  # whether a signal ended the loop, with a checkpoint
        self.late: list[BaseException] = []  # what plugins raised when a fit that was cut had ended

    # -- making -------------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make the data and count the updates; no weight is touched."""
        self.prepared = prepared_fit(self.bus, self, self.fit)
        self.data = self.builder.data(self.prepared)
        self.state.steps_per_epoch, self.state.total_steps = self.data.count_steps()
        self.metrics, self.directions = self.builder.metrics(self.data)
        self.directions = named_directions(self)
        watch_reading(self.data.sets, self.control.saw)

    def assemble(self) -> None:
        """Load the model and make the optimizer; the data is prepared, and the run has its folder."""
        self.directory = self.run.directory_of(self.fit)
        self.model = self.builder.model(self)
        self.phases = self.builder.phases(self)
        self.before = lineage_of(self.model)
        # Only the model says how long its rows may be, where nothing was known of it before.
        self.state.steps_per_epoch, self.state.total_steps = self.data.count_steps()
        self.optimizer = self.builder.optimizer(self)
        self.optimizer = self.builder.followed(self)
        self.optimizer.on_change = self.control.decide
        exporting.check_export(self)

    def restore(self, path: Path, *, optimizer: bool = True) -> None:
        """Put a checkpoint back, but for the number of updates, which this run has planned itself.

        Args:
            path: The checkpoint's folder.
            optimizer: Put the optimizer's state back as well.
        """
        total, per_epoch = self.state.total_steps, self.state.steps_per_epoch
        self.disk.load(self, path, optimizer=optimizer)
        tell_epochs(self, per_epoch, total)
        # Where nobody can count the updates of an epoch, the first one has told.
        self.state.total_steps, self.state.steps_per_epoch = total, per_epoch or self.state.steps_per_epoch
        self.message(f"resumed at step {self.state.step} from {path}")

    def had_seen(self, lineage: Lineage) -> None:
        """Note what the weights had seen before this fit, besides what is known of it."""
        self.before |= lineage

    @property
    def lineage(self) -> Lineage:
        """Every row that the weights have seen so far: before this fit, and to train or to decide in it."""
        decided = [rows for name, rows in self.fit.sets.items() if name in self.control.selected]
        return self.before | trained_on(self.fit) | Lineage.of(decided)

    def compile(self) -> None:
        """Compile the steps of the present phase; weights, optimizer state and restored values are in place."""
        self.steps = self.builder.steps(self)

    def begin_phase(self) -> None:
        """Compile anew where a phase begins with the next update."""
        if self.state.step in self.phases:
            self.traces += self.steps.traces
            self.compile()

    # -- what plugins call --------------------------------------------------------------------------------------------

    @property
    def fit_name(self) -> str:
        """The name of this fit: "fit", "fold-1"."""
        return self.fit.name

    @property
    def starts_from(self) -> str:
        """The folder of the model whose weights the fit starts with, where its description names one; else ""."""
        earlier = {result.fit.name: result.model_path for result in self.run.results}
        return str(earlier.get(self.fit.starts_from) or self.fit.starts_from)

    @property
    def hook(self) -> HookRelay:
        """The hooks of its bus, to call."""
        return self.bus.hook

    def log(self, numbers: Mapping[str, float]) -> None:
        """Send a record to everybody who listens to `on_log`.

        Args:
            numbers: Host numbers by name.
        """
        record = ReadOnlyDict({"step": self.state.step, "epoch": self.state.epoch_progress, **numbers})
        self.bus.hook.on_log(trainer=self, state=self.state, record=record)

    def message(self, text: str, level: str = "info") -> None:
        """Tell the user something in one sentence; level is info or warning."""
        self.run.message(text, level)

    def report(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show the user a table."""
        self.run.report(title, columns, rows)

    def artifact(self, kind: str, path: Path) -> None:
        """Say that a file worth keeping was written, of this fit."""
        self.run.artifact(kind, path, self.fit)

    # -- what the engine calls ----------------------------------------------------------------------------------------

    @property
    def settings(self) -> LoopSettings:
        """Section `training`."""
        settings: LoopSettings = self.config.training
        return settings

    @property
    def interrupted(self) -> bool:
        """Whether a signal asked for the end."""
        return self.run.signal is not None

    @property
    def asked(self) -> bool:
        """Whether anybody asked for something at the next boundary."""
        return self.control.pending or self.interrupted or self.disk.failed

    @property
    def pipeline_depth(self) -> int:
        """How many steps the device may run ahead of the host."""
        return steps_ahead(self.config)

    def explain_step(self) -> Any:
        """Return a `stepbus.Diagnosis` of the latest update, computed once more; None where all is finite."""
        return explained(self)

    def cut_short(self) -> bool:
        """Return whether a signal ends the loop here; a checkpoint is asked for then."""
        self.cut = self.interrupted
        if self.cut:
            self.control.request_checkpoint("interrupted")
        return self.cut

    def evaluate_monitored(self, reason: str) -> None:
        """Evaluate the set that decides, keep the best, and let the plugins decide."""
        evaluation.evaluate_monitored(self, reason)

    def serve_checkpoint(self) -> None:
        """Tell of a checkpoint that became durable, and begin to write another if one was asked for."""
        checkpointing.serve(self)

    def settle_checkpoint(self) -> None:
        """Wait for the checkpoint that is being written, and tell of it."""
        checkpointing.settle(self)

    # -- the fit ------------------------------------------------------------------------------------------------------

    def run_to_end(self) -> FitResult:
        """Run the engine, put the best weights back if that was asked for, score what is to be scored."""
        result = FitResult(self.fit, status="failed", directory=self.directory, resumed_at=self.state.step)
        try:
            began, self.times = time.perf_counter(), Times(self.bus.meter)
            self.control.refused = {"best": why} if (why := best_weights.why_never(self)) else {}
            put_lineage(self.model, self.lineage)
            run_fit(self)
            result.seconds = time.perf_counter() - began
            result.times = self.times.of_loop(result.seconds)
            result.status = "interrupted" if self.cut else "stopped" if self.control.stop else "ok"
            result.reason = self.control.why("stop")
            if result.reason:
                self.message(f"stopped by {result.reason}")
            if not self.cut:
                ending.finish(self, result)
        except BaseException as error:
            result.status = "failed"
            self.not_of_step = self.not_of_step or f"the fit failed in step {self.state.step + 1}"
            raise_first(error, self._end(result))
            raise
        raised = self._end(result)
        if self.cut:
            self.late += raised  # the run ends by the signal, with a checkpoint
        else:
            raise_first(None, raised)
        return result

    def release(self) -> None:
        """Give up weights, optimizer and compiled steps, for which nobody has a use once another fit begins."""
        self.best_arrays, self.scored, self.origin = {}, {}, exporting.Origin()
        for name in {"model", "optimizer", "steps"} & vars(self).keys():
            delattr(self, name)

    def _end(self, result: FitResult) -> list[BaseException]:
        """Complete a result and tell every plugin that the fit has ended; return what they raised."""
        state = self.state
        late = checkpointing.settle_at_last(self) + settle_at_last(self) + exporting.unwrap_at_last(self)
        result.traces = self.traces + (self.steps.traces if "steps" in vars(self) else 0)
        ending.fill(self, result)
        if result.status != "failed":
            ending.count_skipped(self)
        if not self.cut and result.status != "failed":
            for text in self.control.unserved():
                self.message(text, "warning")
        self.control.refused = dict.fromkeys(REQUESTS, "the fit has ended; ask in on_epoch_end or before")
        hand_over(result)
        raised = late + self.bus.tell_all("on_fit_end", trainer=self, state=state, result=result)
        result.disabled = disabled_of(self.bus.members)  # one that broke just now among them
        return raised
