"""The outer loop: a plan of fits, one directory, one ledger, the signals, and the last word to every plugin."""

from __future__ import annotations

import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepbus import assembly, device, ledger, resume
from stepbus.bus import Bus
from stepbus.costs import Meter, report_costs
from stepbus.durable import lock_folder, write_json_atomically, write_text_atomically
from stepbus.errors import BadInput, ConfigError, DataError, Interrupted, ModelError
from stepbus.fits import Fit, FitResult, groups_along, grown_axes
from stepbus.members import exclusions, plugin_table, prototypes, run_scoped
from stepbus.row_sets import check_labels, check_texts, read_sets
from stepbus.summary import fit_facts
from stepbus.yaml_writer import to_yaml

if TYPE_CHECKING:
    from stepbus.bus import Member
    from stepbus.errors import Problem
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
        self.next_command = ""
        self.members: list[Member] = prototypes(self.config, trainer.plugins)
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
        """Return every metric of predictions that are in the label's own unit, without prefix."""
        found: dict[str, float] = {}
        for name, metric in self.trainer.metrics:
            value = metric(labels, predictions)
            found |= value if isinstance(value, dict) else {name: value}
        return {name: float(value) for name, value in found.items()}

    # -- the outer loop -----------------------------------------------------------------------------------------------

    def execute(self) -> FitResult:
        """Plan, run every fit, combine; whatever happens, every plugin hears `on_close`."""
        status = "failed"
        with ExitStack() as stack:
            try:
                device.choose(self.config.environment.device)
                self.resume_from()
                self._plan()
                stack.enter_context(self._signals())
                stack.enter_context(lock_folder(self.directory))
                self._describe()
                self.bus.hook.on_run_start(run=self)
                for fit in self.fits:
                    self.results.append(self._one(fit))
                    if self.results[-1].status == "interrupted":
                        status = "interrupted"
                        report_costs(self, time.perf_counter() - self.began)
                        raise self._interruption()
                result = self._combine()
                report_costs(self, time.perf_counter() - self.began)
                self.bus.hook.on_run_end(run=self, result=result)
                status = result.status
                return result
            except BaseException as error:
                # What a plugin raises here must not stand in front of the error itself.
                for raised in self.bus.tell_all("on_exception", run=self, error=error):
                    self.message(str(raised), "warning")
                raise
            finally:
                for raised in self.bus.tell_all("on_close", run=self, status=status):
                    self.message(str(raised), "warning")

    def resume_from(self) -> None:
        """Find the run to go on with, or a folder that no other run uses."""
        if self.resume:
            self.directory = resume.find_run(self.resume, self.directory)
            self.id = resume.read_run(self.directory)["id"]
        else:
            self.directory = resume.free_folder(self.directory)

    def _plan(self) -> None:
        """Read the rows, make the fits, and collect every problem before anything is created or loaded."""
        _refuse(exclusions(self.config, self.members))
        try:
            self.plan_fits()
            check_labels(self.config, self.fits)
            assembly.prepare_data(self.trainer, self, self.fits[0])
            check_texts(self.trainer.encoder.source, self.fits)
            if self.trainer.given_model is None:
                assembly.check_lengths(self.trainer, assembly.model_config(self.config.model) or {})
        except (DataError, ModelError) as error:
            raise type(error)(str(self.config.place(error))) from error
        _refuse(self.plan_problems())

    def plan_fits(self) -> None:
        """Read the rows and make the fits."""
        whole = Fit("fit", self._rows(), self.config.training.seed)
        self.fits = self.bus.thread("expand_fits", run=self, fits=[whole])
        # A run of several fits has a model in each: the command must name one to work as it stands.
        self.next_command = f"stepbus predict {self.directory_of(self.fits[0])} FILE"
        names = [fit.name for fit in self.fits]
        if len(set(names)) != len(names):
            raise BadInput(f"two fits of the plan have the same name: {', '.join(names)}")

    def plan_problems(self) -> list[Problem]:
        """Return every problem of the plan, with file and line; the data of the first fit is prepared."""
        plan = assembly.make_plan(self.trainer, self.fits)
        planners = Bus(self.members, meter=self.meter)
        problems = [problem for found in planners.in_order("validate_plan", plan=plan) for problem in found]
        problems += resume.plan_problems(plan, can_combine=self.bus.has("combine_results"))
        return [self.config.locate(problem) for problem in dict.fromkeys(problems)]

    def _rows(self) -> dict[str, Any]:
        return read_sets(self.config, *self.given)

    def _describe(self) -> None:
        """Write what this run is, so that it can be found, read and resumed; or hold a resumed one against it."""
        fits = [{"name": fit.name, "scope": fit.scope} for fit in self.fits]
        facts = {"fits": fits, "config": self.config.deciding(), "plugins": plugin_table(self.members)}
        if self.resume:
            resume.check_run(self, facts, allow_changed=self.allow_changed)
            return
        write_json_atomically(self.directory / resume.RUN_FILE, {"id": self.id, "facts": facts})
        write_text_atomically(self.directory / "config.yaml", to_yaml(self.config.resolved()))

    def _one(self, fit: Fit) -> FitResult:
        """Do one fit, or take its result from the ledger."""
        directory = self.directory_of(fit)
        known = ledger.read(directory, fit, self.id) if self.resume else None
        if known is not None:
            self.message(f"{fit.name} is already done: {directory}")
            return known
        trainer = self.trainer
        if fit is not self.fits[0]:
            trainer = type(self.trainer)(self.config, self.trainer.given_model, plugins=self.trainer.plugins)
            assembly.prepare_data(trainer, self, fit)
        directory.mkdir(parents=True, exist_ok=True)
        assembly.assemble(trainer, self.members, alone=self.alone)
        if self.resume:
            resume.restore(trainer, self.resume, allow_changed=self.allow_changed)
        assembly.compile_steps(trainer)
        trainer.facts = fit_facts(trainer)
        result = trainer.run_to_end()
        if result.status != "interrupted":
            ledger.write(directory, result, self.id)
        return result

    def _combine(self) -> FitResult:
        results = self.results
        for axis in grown_axes(self.fits):
            results = [
                self.bus.hook.combine_results(run=self, axis=axis, results=group)
                for group in groups_along(axis, results)
            ]
        (result,) = results
        return result

    def _interruption(self) -> Interrupted:
        number = self.signal or signal.SIGINT
        name = signal.Signals(number).name
        return Interrupted(
            f"interrupted by {name}; a checkpoint was written: go on with `stepbus train … --resume {self.directory}`",
            number,
        )

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Let SIGINT and SIGTERM set a flag, which the next boundary reads; a second one has its usual effect."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may have handlers; the caller's own stay in charge
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def note(number: int, _: Any) -> None:
            self.signal = number
            signal.signal(number, before[signal.Signals(number)])

        for number in before:
            signal.signal(number, note)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _refuse(problems: list[Problem]) -> None:
    if problems:
        raise ConfigError(problems)
