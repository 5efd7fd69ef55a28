"""As much of a run as hooks and trainers ask for: the plan, its fits one after the other, and the last word."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from stepbus.bus import Bus, Member
from stepbus.config import Config
from stepbus.costs import Meter, report_costs
from stepbus.effects import unevaluated
from stepbus.errors import ConfigError, Interrupted, Problem, mention
from stepbus.fits import Fit, FitResult, Plan, groups_along, grown_axes
from stepbus.members import for_fit, keep_disabled, prototypes, run_scoped
from stepbus.testing.recorder import Recorder
from stepbus.testing.script import Asked, Script, ScriptedRows, Snapshot, scripted_codec
from stepbus.testing.scripted_trainer import ScriptedTrainer

# How the recorder of a scripted run is called on the bus; no plugin can have such a name.
RECORDER = "(recorder)"


class ScriptedRun:
    """As much of `stepbus.run.Run` as hooks and trainers ask for; a test holds its order of events to the real one.

    Args:
        config: The configuration.
        extras: Plugins passed in Python.
        script: What the steps of each fit say.
        steps_per_epoch: Updates of one epoch.
        resume_from: Where to go on.
    """

    id = "scripted"
    next_command = ""

    def __init__(
        self,
        config: Config,
        extras: tuple[Any, ...],
        script: Script,
        steps_per_epoch: int,
        resume_from: Snapshot | None,
    ) -> None:
        self.config, self.extras, self.script, self.resume_from = config, extras, script, resume_from
        self.steps_per_epoch = steps_per_epoch
        self.directory = Path(config.environment.output_dir)
        self.fits: list[Fit] = []
        self.results: list[FitResult] = []
        self.signal: int | None = None
        self.sets: dict[str, Any] = {}
        self.parts: dict[str, Callable[[], Any]] = {}
        self.given_directions: Mapping[str, bool | None] | None = None
        self.asked: list[Asked] = []
        self.checkpoints: list[Snapshot] = []
        self.moves: list[str] = []
        self.recorder = Recorder()
        self.planners = prototypes(config, extras)
        self.members = [Member(RECORDER, RECORDER, self.recorder), *self.planners]
        self.meter = Meter()
        self.bus = Bus(run_scoped(self.members), meter=self.meter)
        self.bus.on_disabled = lambda text: self.message(text, "warning")
        self.trainer = ScriptedTrainer(self, script)
        self.latest = self.trainer
        self.result: FitResult | None = None

    # -- what plugins call --------------------------------------------------------------------------------------------

    @property
    def alone(self) -> bool:
        """Whether the plan has one fit only."""
        return len(self.fits) == 1

    def directory_of(self, fit: Fit) -> Path:
        """Return the folder of one fit: the run's own when it is alone."""
        return self.directory if self.alone else self.directory / "fits" / fit.name

    def message(self, text: str, level: str = "info") -> None:
        """Tell the user something in one sentence; level is info or warning."""
        self.bus.hook.on_message(run=self, text=text, level=level)

    def report(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show the user a table."""
        self.bus.hook.on_report(run=self, title=title, columns=columns, rows=rows)

    def artifact(self, kind: str, path: Path) -> None:
        """Say that a file worth keeping was written."""
        self.bus.hook.on_artifact(run=self, kind=kind, path=path)

    def score(self, labels: Any, predictions: Any) -> dict[str, float]:
        """Return the share of rows that are predicted rightly."""
        return {"accuracy": float((predictions.argmax(-1) == labels).mean())} if predictions.ndim > labels.ndim else {}

    # -- the outer loop -----------------------------------------------------------------------------------------------

    def interrupt(self) -> None:
        """Let a signal arrive."""
        self.signal = signal.SIGINT

    def scripted_sets(self) -> dict[str, Any]:
        """Return rows that only have ids; validation rows where evaluations are scripted."""
        rows = self.steps_per_epoch * self.config.data.settings.batch_size
        sets = {"train": ScriptedRows("train", rows)}
        return sets | ({"validation": ScriptedRows("validation", 6)} if self.script.metrics else {})

    def execute(self) -> None:
        """Plan, play every fit, combine; whatever happens, every plugin hears `on_close`."""
        status = "failed"
        failed: BaseException | None = None
        try:
            self._plan()
            if self.resume_from is not None:
                for known in self.resume_from.done:
                    keep_disabled(self.bus, known.disabled)
                keep_disabled(self.bus, self.resume_from.disabled)
            self.bus.hook.on_run_start(run=self)
            for fit in self.fits:
                self.results.append(self._one(fit))
                if self.results[-1].status == "interrupted":
                    status = "interrupted"
                    report_costs(self, math.inf)  # type: ignore[arg-type]  # no time passes in a script
                    raise Interrupted("interrupted by the script", self.signal or signal.SIGINT)
            self.result = self._combine()
            report_costs(self, math.inf)  # type: ignore[arg-type]  # no time passes in a script
            self.bus.hook.on_run_end(run=self, result=self.result)
            status = self.result.status
        except BaseException as error:
            failed = error
            mention(error, self.bus.tell_all("on_exception", run=self, error=error))
            if not isinstance(error, Interrupted):
                raise
        finally:
            raised = self.bus.tell_all("on_close", run=self, status=status)
            if failed is not None:
                mention(failed, raised)
            else:
                for late in raised:
                    self.message(str(late), "warning")

    def _plan(self) -> None:
        whole = Fit("fit", self.sets, self.config.training.seed)
        self.fits = self.bus.thread("expand_fits", run=self, fits=[whole])
        trainer = self._prepare(self.trainer, self.fits[0])
        state, monitored = trainer.state, trainer.fit.monitored is not None
        why = unevaluated(self.config.training, monitored, state.steps_per_epoch, state.total_steps)
        plan = Plan(
            config=self.config,
            fits=self.fits,
            task=str(trainer.encoder.codec.task),
            metrics=trainer.directions,
            monitor=trainer.monitor,
            total_steps=trainer.state.total_steps,
            rows={name: len(rows) for name, rows in trainer.fit.sets.items()},
            has_validation=not why,
            unevaluated=why,
        )
        found = Bus(self.members).in_order("validate_plan", plan=plan)
        problems = [problem for each in found for problem in each]
        if grown_axes(self.fits) and not Bus(self.planners).has("combine_results"):
            problems.append(Problem("plugins", "the plan has several fits, and no plugin combines them"))
        if problems:
            raise ConfigError(problems)

    def _prepare(self, trainer: ScriptedTrainer, fit: Fit) -> ScriptedTrainer:
        training, script = self.config.training, self.script
        trainer.fit, trainer.directory = fit, self.directory_of(fit)
        codec = scripted_codec(fit.sets["train"], self.config.data.settings)
        trainer.encoder = SimpleNamespace(codec=codec)  # type: ignore[assignment]
        trainer.optimizer = SimpleNamespace(  # type: ignore[assignment]
            learning_rate=self.config.optimizer.settings.learning_rate
        )
        trainer.tokens = dict(fit.sets)  # type: ignore[arg-type]  # only their names are asked for
        names = {"eval_loss": None} | {name: None for metrics in script.metrics for name in metrics}
        trainer.directions = dict(self.given_directions or {name: not name.endswith("loss") for name in names})
        if training.greater_is_better is not None:
            trainer.directions[training.monitor] = training.greater_is_better
        state = trainer.state
        state.steps_per_epoch = self.steps_per_epoch
        state.total_steps = training.num_epochs * self.steps_per_epoch
        if training.max_steps is not None:
            state.total_steps = min(state.total_steps, training.max_steps)
        return trainer

    def _one(self, fit: Fit) -> FitResult:
        snapshot = self.resume_from
        for known in snapshot.done if snapshot else ():
            if known.fit.name == fit.name:
                self.message(f"{fit.name} is already done: {known.directory}")
                return known
        first = fit is self.fits[0]
        trainer = self.trainer if first else self._prepare(ScriptedTrainer(self, self.script), fit)
        self.latest = trainer
        trainer.directory.mkdir(parents=True, exist_ok=True)
        built = [(name, build()) for name, build in self.parts.items()]
        members = for_fit(self.members, built, alone=self.alone, extras=self.extras)
        trainer.bus = Bus(members, trainer.control, self.meter)
        trainer.bus.on_disabled = lambda text: trainer.message(text, "warning")
        if snapshot is not None and snapshot.fit == fit.name:
            trainer.restore(snapshot)
        return trainer.run_to_end()

    def _combine(self) -> FitResult:
        results = self.results
        for axis in grown_axes(self.fits):
            groups = groups_along(axis, results)
            results = [self.bus.hook.combine_results(run=self, axis=axis, results=group) for group in groups]
        (result,) = results
        return result
