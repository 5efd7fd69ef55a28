"""The outer loop: a plan of fits, one directory, one ledger, the signals, and the last word to every plugin."""

from __future__ import annotations

import shlex
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepbus import assembly, checkpoints, conditions, device, evaluation, leftovers, resume, run_files, run_folders
from stepbus.bus import Bus
from stepbus.costs import Cost, Meter
from stepbus.durable import lock_folder, write_bytes_atomically
from stepbus.effects import refusals, run_notes
from stepbus.errors import BadInput, ConfigError, DataError, Interrupted, ModelError, mention, without_secrets
from stepbus.fits import Fit, FitResult, groups_along, grown_axes
from stepbus.interruption import interrupted, signals_after
from stepbus.members import exclusions, plugin_table, prototypes, run_scoped
from stepbus.one_fit import do_fit
from stepbus.row_sets import check_labels, check_texts, read_sets
from stepbus.run_folders import CHECKPOINTS
from stepbus.yaml_writer import to_yaml

if TYPE_CHECKING:
    from stepbus.errors import Problem
    from stepbus.members import Prototype
    from stepbus.trainer import Trainer


class Run:
    """One run of the outer loop.

    Args:
        trainer: The caller's trainer; it does the fit of a plan of one.
        train: Training rows, or None for those of the configuration.
        validation: Validation rows, a fraction, or None for those of the configuration.
        resume: True to go on with the newest run of the output folder, or the path of a run or a checkpoint.
        allow_changed: Go on although something differs from what the run began with.
        trace_hooks: Print each call of a hook, with plugin and time, on the standard error.
    """

    def __init__(
        self,
        trainer: Trainer,
        train: Any = None,
        validation: Any = None,
        *,
        resume: bool | str | Path = False,
        allow_changed: bool = False,
        trace_hooks: bool = False,
    ) -> None:
        self.trainer, self.config = trainer, trainer.config
        self.given = (train, validation)
        self.resume, self.allow_changed = resume, allow_changed
        self.id = uuid.uuid4().hex
        self.directory = Path(self.config.environment.output_dir)
        self.fits: list[Fit] = []
        self.results: list[FitResult] = []
        self.signal: int | None = None
        self._claim: run_folders.Claim | None = None
        self.started = False  # whether the loop of a fit was entered
        self.facts: dict[str, Any] = {}  # what a later resume compares
        self.earlier: list[dict[str, Any]] = []  # the facts before each change that was allowed
        self.changed = False  # whether this resume has one that is not written yet
        self.told: set[str] = set()  # what a resume said of other conditions
        self.members: list[Prototype] = prototypes(self.config, trainer.plugins)
        self.meter, self.began = Meter(sys.stderr if trace_hooks else None), time.perf_counter()
        self.bus = Bus(run_scoped(self.members), meter=self.meter)
        self.bus.on_disabled = lambda text: self.message(text, "warning")

    # -- what plugins call --------------------------------------------------------------------------------------------

    @property
    def alone(self) -> bool:
        """Whether the plan has one fit only."""
        return len(self.fits) == 1

    def directory_of(self, fit: Fit) -> Path:
        """Return the folder of one fit: the run's own when it is alone."""
        return self.directory if self.alone else self.directory / "fits" / fit.name

    @property
    def next_command(self) -> str:
        """What to type next, as it stands: a run of several fits has a model in each, so one of them is named."""
        return f"stepbus predict {shlex.quote(str(self.directory_of(self.fits[0])))} FILE" if self.fits else ""

    @property
    def seconds(self) -> float:
        """Wall time since the run was opened."""
        return time.perf_counter() - self.began

    @property
    def costs(self) -> Mapping[str, Cost]:
        """Plugin name -> seconds, calls and errors of its hooks up to now, read-only; the call in progress not yet."""
        return self.meter.costs

    def message(self, text: str, level: str = "info") -> None:
        """Tell the user something in one sentence; level is info or warning."""
        self.bus.hook.on_message(run=self, text=without_secrets(text), level=level)

    def report(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show the user a table."""
        self.bus.hook.on_report(run=self, title=title, columns=columns, rows=rows)

    def artifact(self, kind: str, path: Path) -> None:
        """Say that a file worth keeping was written."""
        self.bus.hook.on_artifact(run=self, kind=kind, path=path)

    def score(self, labels: Any, predictions: Any) -> dict[str, float]:
        """Return every metric of predictions that are in the label's own unit, without prefix."""
        return evaluation.metric_values(self.trainer.metrics, labels, predictions)

    # -- the outer loop -----------------------------------------------------------------------------------------------

    def execute(self) -> FitResult:
        """Plan, run every fit, combine; whatever happens, every plugin hears `on_close`."""
        with ExitStack() as self.stack:
            result = self._do_all()
        self._heed_signal()  # one that came while the plugins were closed
        return result

    def _do_all(self) -> FitResult:
        status = "failed"
        failed: BaseException | None = None
        try:
            device.choose(self.config.environment.device)
            self.resume_from()
            self._plan()
            self._hold_folder()
            self._describe()
            self.bus.hook.on_run_start(run=self)
            self._tell_notes()
            for fit in self.fits:
                self._heed_signal()
                self.results.append(do_fit(self, fit))
                if self.results[-1].status == "interrupted":
                    self._heed_signal(saved=True)
            self._heed_signal()
            result = self._combine()
            self.bus.hook.on_run_end(run=self, result=result)
            self._heed_signal()
            status = result.status
            return result
        except BaseException as error:
            failed = error
            if isinstance(error, Interrupted | KeyboardInterrupt):
                status = "interrupted"
            # What a plugin raises here must not stand in front of the error itself.
            mention(error, self.bus.tell_all("on_exception", run=self, error=error))
            raise
        finally:
            raised = self.bus.tell_all("on_close", run=self, status=status)
            if failed is not None:
                mention(failed, raised)
            else:
                for late in raised:
                    self.message(str(late), "warning")

    def resume_from(self) -> None:
        """Find the run to go on with, or a folder that no other run uses."""
        if self.resume is False or self.resume is None:
            self.directory = run_folders.free_folder(self.directory)
            return
        self.directory, self.resume = run_folders.find_run(self.resume, self.directory)
        self.id = run_folders.read_run(self.directory)["id"]

    def _hold_folder(self) -> None:
        """Keep every other run out of the folder; a new run takes the next one where somebody was faster."""
        if self.resume:
            self.stack.enter_context(lock_folder(self.directory, create=False))
        else:
            with signals_after():
                wanted = Path(self.config.environment.output_dir)
                self._claim = self.stack.enter_context(run_folders.claim(wanted))
                self.directory = self._claim.folder
                self.stack.callback(self._leave_nothing)
            self.trainer.directory = self.directory_of(self.fits[0])
        leftovers.sweep(self.directory, self.message)

    def _leave_nothing(self) -> None:
        """Give the folder up where this run ended before its first update and its first checkpoint."""
        assert self._claim is not None
        first = self.directory_of(self.fits[0])
        trained = self.started and (self.trainer.state.step or checkpoints.scan(first / CHECKPOINTS))
        if not self.results and not trained:
            self._claim.give_up(first)

    def _plan(self) -> None:
        """Read the rows, make the fits, and collect every problem before anything is created or loaded."""
        _refuse([*refusals(self.config), *exclusions(self.config, self.members)])
        try:
            self.plan_fits()
            check_labels(self.config, self.fits)
            assembly.prepare_data(self.trainer, self, self.fits[0])
            check_texts(self.trainer.encoder.source, self.fits)
        except (DataError, ModelError) as error:
            raise type(error)(str(self.config.place(error))) from error
        _refuse(self.plan_problems())

    def _tell_notes(self) -> None:
        """Say what was set and has no effect."""
        state, longest = self.trainer.state, int(self.trainer.tokens["train"].lengths.max())
        for note in run_notes(self.config, self.fits, state.steps_per_epoch, state.total_steps, longest):
            self.message(note, "warning")

    def plan_fits(self) -> None:
        """Read the rows and make the fits."""
        whole = Fit("fit", self._rows(), self.config.training.seed)
        self.fits = self.bus.thread("expand_fits", run=self, fits=[whole])
        names = [fit.name for fit in self.fits]
        if len(set(names)) != len(names):
            raise BadInput(f"two fits of the plan have the same name: {', '.join(names)}")

    def plan_problems(self) -> list[Problem]:
        """Return every problem of the plan, with file and line; the data of the first fit is prepared."""
        plan = assembly.make_plan(self.trainer, self.fits)
        planners = Bus(self.members, meter=self.meter)
        problems = [problem for found in planners.in_order("validate_plan", plan=plan) for problem in found]
        problems += resume.plan_problems(plan, can_combine=self.bus.has("combine_results"))
        problems += run_files.problems(self)
        return [self.config.locate(problem) for problem in dict.fromkeys(problems)]

    def _rows(self) -> dict[str, Any]:
        return read_sets(self.config, *self.given)

    def _describe(self) -> None:
        """Write what this run is, so that it can be found, read and resumed; or hold a resumed one against it."""
        fits = [{"name": fit.name, "scope": fit.scope} for fit in self.fits]
        facts = {"fits": fits, "config": self.config.deciding(), "plugins": plugin_table(self.members)}
        facts["conditions"] = conditions.current()
        self.facts = facts
        writes = run_files.written_by_plugins(self)
        written = run_folders.run_documents(self.id, facts, to_yaml(self.config.resolved()), writes)
        if self.resume:
            resume.check_run(self, facts, allow_changed=self.allow_changed)
            run_files.note_writes(self)
        for name, content in written.items():
            path = self.directory / name
            if not path.exists():  # a kill may have come between the two
                if self._claim is not None:
                    self._claim.made.append(path)
                with run_folders.writing(path):
                    write_bytes_atomically(path, content)

    def _combine(self) -> FitResult:
        results = self.results
        for axis in grown_axes(self.fits):
            results = [
                self.bus.hook.combine_results(run=self, axis=axis, results=group)
                for group in groups_along(axis, results)
            ]
        (result,) = results
        return result

    def _heed_signal(self, *, saved: bool = False) -> None:
        """End the run where a signal asked for it; `saved` says that the fit wrote a checkpoint for that."""
        if self.signal is not None:
            raise interrupted(self.signal, self.directory, saved=saved)


def _refuse(problems: list[Problem]) -> None:
    if problems:
        raise ConfigError(problems)
