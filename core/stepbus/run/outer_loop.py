"""The outer loop: a plan of fits one after the other, the signals, and the last word to every plugin."""

from __future__ import annotations

import logging
import shlex
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from stepbus.base import Caller, Interrupted, as_written, from_here, mention, outcome, raise_first, without_secrets
from stepbus.base.guards import AssignedByCore, ReadOnlyList, as_read_only, hand_over
from stepbus.fit import FitSession, metric_values, prototypes, run_scoped
from stepbus.fit.opened import needs_trust
from stepbus.fit.seen import deciders
from stepbus.kernel import Bus, Control, Fit, FitResult, Meter
from stepbus.run.combining import combine, goes_on_from_fits
from stepbus.run.files import FITS
from stepbus.run.interruption import close, interrupted, noted_signals
from stepbus.run.keeping import tell_fit
from stepbus.run.plans import Variant, Variants, fill, plan_run
from stepbus.run.prediction import as_decision, predict_together

if TYPE_CHECKING:
    from stepbus.base import Problem
    from stepbus.config import Config
    from stepbus.fit import FitBuilder, Prototype
    from stepbus.kernel import Cost

log = logging.getLogger(__name__)


class Store(Protocol):
    """What keeps a run: its folder, what it is, and its finished fits."""

    @property
    def resumed(self) -> bool: ...  # whether it goes on with a run of an earlier process; known once it is open

    def open(self, run: Run) -> None:
        """Find the run to go on with, or a folder that no other run uses."""

    def problems(self, run: Run) -> list[Problem]:
        """Return what stands in the way in the folder; the plan of fits is known."""

    def hold(self, run: Run) -> None:
        """Keep every other run out of the folder until the run ends."""

    def describe(self, run: Run) -> None:
        """Write what the run is, or hold a resumed one against it."""

    def is_done(self, run: Run, fit: Fit) -> bool:
        """Return whether an earlier process finished a fit."""

    def finished(self, run: Run, fit: Fit, session: Callable[[], FitSession]) -> FitResult | None:
        """Return the result of a fit that is done, with nothing more to do; `session` prepares it, to count."""

    def begin(self, directory: Path) -> None:
        """Make the folder of a fit."""

    def restore(self, session: FitSession) -> None:
        """Put back the checkpoint that a fit goes on from, if there is one."""

    def keep(self, run: Run, result: FitResult) -> None:
        """Keep the result of a fit that has ended."""

    def is_told(self, what: str) -> bool:
        """Return whether plugins were told of a result, by this process or an earlier one."""

    def note_told(self, run: Run, what: str) -> None:
        """Keep that plugins were told of a result, and what they remember."""

    def complete(self, run: Run, result: FitResult) -> None:
        """Keep how the models of a run predict together; all its fits are done."""


class Run(AssignedByCore):
    """One run of the outer loop. What hooks read of it is listed in `stepbus.kernel.protocols.Run`.

    Args:
        config: The configuration.
        builder: What makes the parts of each fit.
        store: What keeps the run.
        plugins: Plugins passed in Python.
        watchers: Further members that only watch, before all plugins.
        trace_hooks: Print each call of a hook, with plugin and time, on the standard error.
    """

    named, free = "run", ("signal",)  # whoever receives a signal writes it down

    def __init__(
        self,
        config: Config,
        builder: FitBuilder,
        store: Store,
        *,
        plugins: Sequence[Any] = (),
        watchers: Sequence[Prototype] = (),
        trace_hooks: bool = False,
    ) -> None:
        self.config, self.builder, self.store, self.plugins = config, builder, store, tuple(plugins)
        self.id = uuid.uuid4().hex
        self.directory = from_here(Path(config.environment.output_dir))
        self.fits: list[Fit] = []
        self.results: list[FitResult] = []
        self.notes: list[str] = []
        self.signal: int | None = None
        self.started = False  # whether the loop of a fit was entered
        self.decisions: dict[str, Any] = {}
        self._filled: dict[str, Fit] = {}
        self.sessions: dict[str, FitSession] = {}  # of the main fit and of the latest one
        self.stack = ExitStack()
        self.planners = prototypes(config, self.plugins)
        self.members: list[Prototype] = [*watchers, *self.planners]
        self.meter, self.began = Meter(sys.stderr if trace_hooks else None), time.perf_counter()
        self.variants = Variants(Variant(config, builder, tuple(self.members)))
        self.caller = Caller()
        self.bus = Bus(run_scoped(self.members), Control(self.caller), self.meter)
        self.bus.on_disabled = lambda text: self.message(text, "warning")
        self.bus.locate = config.locate

    # -- what plugins call --------------------------------------------------------------------------------------------

    @property
    def alone(self) -> bool:
        """Whether the plan has one fit only."""
        return len(self.fits) == 1

    @property
    def main(self) -> Fit:
        """The first fit that predicts for the run: what the run knows of labels and metrics, it knows from there."""
        return next((fit for fit in self.fits if not fit.auxiliary), self.fits[0])

    @property
    def first(self) -> FitSession:
        """The session of that fit, its data prepared."""
        return self.sessions[self.main.name]

    @property
    def codec(self) -> Any:
        """What turns labels into numbers and back."""
        return self.first.data.codec

    @property
    def resumed(self) -> bool:
        """Whether it goes on with a run of an earlier process."""
        return self.store.resumed

    def is_done(self, fit: Fit) -> bool:
        """Return whether an earlier process finished a fit; its hooks do not fire again, unless it is to train on."""
        return self.store.is_done(self, fit)

    @property
    def seconds(self) -> float:
        """Wall time since the run was opened."""
        return time.perf_counter() - self.began

    @property
    def costs(self) -> Mapping[str, Cost]:
        """Plugin name -> seconds, calls and errors of its hooks up to now, read-only; the call in progress not yet."""
        return self.meter.costs

    @property
    def deciding(self) -> list[str]:
        """The plugins and components that declare that they may choose weights by the scores of a monitored set."""
        evaluated = self.config.training.eval_strategy != "no" or Bus(self.members).may_ask("evaluation")
        return deciders(self.members, self.builder.parts()) if evaluated else []

    def directory_of(self, fit: Fit) -> Path:
        """Return the folder of one fit."""
        return self.directory / FITS / fit.name

    @property
    def next_command(self) -> str:
        """What to type next, as it stands: of a run of several fits, `stepbus predict` takes them all."""
        trust = " --trust" if self.fits and needs_trust(self.config, self.first.data.task) else ""
        return "" if not self.fits else f"stepbus predict {shlex.quote(as_written(str(self.directory)))} FILE{trust}"

    def message(self, text: str, level: str = "info") -> None:
        """Tell the user something in one sentence; level is info or warning, which is logged where no plugin hears."""
        text = as_written(without_secrets(text))
        if level == "warning" and not self.bus.hears("on_message"):
            log.warning("%s", text)
        self.bus.hook.on_message(run=self, text=text, level=level)

    def report(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show the user a table."""
        columns, cells = as_read_only(columns), ReadOnlyList(map(as_read_only, rows))
        self.bus.hook.on_report(run=self, title=title, columns=columns, rows=cells)

    def artifact(self, kind: str, path: Path, fit: Fit | None = None) -> None:
        """Say that a file worth keeping was written, of a fit or of the whole run."""
        self.bus.hook.on_artifact(run=self, fit=fit, kind=kind, path=path)

    def decide(self, decision: Any) -> None:
        """Keep what a plugin decided for all later predictions of the run, as JSON values; see `finish_predictions`."""
        self.decisions[self.caller.now.plugin] = as_decision(self.caller.now, decision)

    def score(self, labels: Any, predictions: Any, weights: Any = None) -> dict[str, float]:
        """Return every metric of predictions that are in the label's own unit, without prefix, by the rows' weights."""
        return metric_values(self.first.metrics, labels, predictions, weights)

    # -- the outer loop -----------------------------------------------------------------------------------------------

    def execute(self) -> FitResult:
        """Plan, run every fit, combine; whatever happens, every plugin hears `on_close`."""
        with self.stack:
            result = self._do_all()
        self._heed_signal()  # one that came while the plugins were closed
        return result

    def _do_all(self) -> FitResult:
        status = "failed"
        failed: BaseException | None = None
        try:
            self.store.open(self)
            plan_run(self)
            self.store.hold(self)
            self.store.describe(self)
            self.bus.hook.on_run_start(run=self)
            for note in self.notes:
                self.message(note, "warning")
            for fit in list(self.fits):
                self._heed_signal()
                self.results.append(self._do_fit(fit))
                hand_over(self.results[-1])
                if self.results[-1].status == "interrupted":
                    self._heed_signal(saved=not self.sessions[fit.name].unsaved)
                tell_fit(self, self.results[-1])
            self._heed_signal()
            with goes_on_from_fits(self):
                result = predict_together(self, combine(self))
            hand_over(result)
            self.store.complete(self, result)
            raise_first(None, self.bus.tell_all("on_run_end", run=self, result=result))
            self._heed_signal()
            status = result.status
            return result
        except (Interrupted, KeyboardInterrupt) as error:
            status, failed = "interrupted", error  # which is no failure: only `on_close` tells of it
            raise
        except BaseException as error:
            # What a plugin raises here must not stand in front of the error itself.
            failed = outcome(error, self.bus.tell_all("on_exception", run=self, error=error))
            raise_first(failed, ())
            raise
        finally:
            close(self, self.bus, status, failed)

    def session_of(self, fit: Fit) -> FitSession:
        """Return the session of a fit, its data prepared; those that are done make room."""
        if fit.name not in self.sessions or self.sessions[fit.name].fit is not fit:
            variant = self.variants.of(fit)
            session = FitSession(self, fit, variant.builder, variant.members, self.plugins, self.meter, self.caller)
            session.prepare()
            self.sessions = {name: kept for name, kept in self.sessions.items() if name == self.main.name}
            self.sessions[fit.name] = session
        return self.sessions[fit.name]

    def filled(self, fit: Fit) -> Fit:
        """Return a fit of the plan with all its rows: where it needs results of others, plugins add what follows.

        Args:
            fit: A fit whose `after` is done.
        """
        if fit.after and fit.name not in self._filled:
            self._filled[fit.name] = fill(self, fit)
            self.fits[self.fits.index(fit)] = self._filled[fit.name]
        return self._filled.get(fit.name, fit)

    def _do_fit(self, fit: Fit) -> FitResult:
        """Return the result of one fit: the one that is kept, or go on where it was cut, or do it."""
        fit = self.filled(fit)
        known = self.store.finished(self, fit, lambda: self.session_of(fit))
        if known is not None:
            return known
        session = self.session_of(fit)
        self.store.begin(self.directory_of(fit))
        for other in self.sessions.values():
            if other is not session:
                other.release()
        session.assemble()
        self.store.restore(session)
        session.compile()
        if not self.started:  # from now on a signal waits for a boundary; before, it ended the run at once
            self.started = True
            self.stack.enter_context(noted_signals(self))
        result = session.run_to_end()
        self.store.keep(self, result)
        return result

    def _heed_signal(self, *, saved: bool = False) -> None:
        """End the run where a signal asked for it; `saved` says that the fit wrote a checkpoint for that."""
        if self.signal is not None:
            error = interrupted(self.signal, self.directory, saved=saved)
            mention(error, [late for session in self.sessions.values() for late in session.late])
            raise error
