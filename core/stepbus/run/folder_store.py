"""A run in a folder: found or claimed, described, resumed, and each finished fit of it kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepbus.base import BadInput, ConfigError, counted, from_here
from stepbus.base.trees import to_yaml
from stepbus.device import choice
from stepbus.fit import computing_facts, conditions_of, digest_at_start, plugin_table
from stepbus.run import files as run_files
from stepbus.run import folders as run_folders
from stepbus.run import keeping, ledger, opened, resume, room
from stepbus.run.interruption import signals_after
from stepbus.run.keeping import Deliveries
from stepbus.run.resume import Past, Start
from stepbus.storage import checkpoints, leftovers, lock_folder, write_bytes_atomically
from stepbus.storage.wheels import cache as wheel_cache

if TYPE_CHECKING:
    from stepbus.base import Problem
    from stepbus.config import Config
    from stepbus.fit import FitSession
    from stepbus.kernel import Fit, FitResult
    from stepbus.run.outer_loop import Run


class FolderStore:
    """Keeps a run in a folder of its own.

    Args:
        config: The configuration.
        resume: True to go on with the newest run of the output folder, or the path of a run or a checkpoint.
        allow_changed: Go on although something differs from what the run began with.
        start: A checkpoint of another run to begin with.
        here: Where a relative output folder starts; the working directory if None.
    """

    def __init__(
        self,
        config: Config,
        *,
        resume: bool | str | Path | None = False,
        allow_changed: bool = False,
        start: Start | None = None,
        here: Path | None = None,
    ) -> None:
        self.wanted = from_here(Path(config.environment.output_dir), here)
        self.device = config.environment.device
        self.given, self.start = resume, start
        self.resumed = False
        self.named: Path | None = None  # the checkpoint that was named
        self.past = Past(allow_changed)
        self.deliveries = Deliveries(lambda: self.run.directory, lambda: self.run.id, lambda: self.run.decisions)
        self._plans: dict[str, dict[str, str]] = {}  # see `keeping.planned`
        self._claim: run_folders.Claim | None = None
        self._run: Run | None = None

    @property
    def run(self) -> Run:
        """The run, once it is open."""
        assert self._run is not None
        return self._run

    def open(self, run: Run) -> None:
        """Find the run to go on with, or a folder that no other run uses."""
        self._run = run
        try:
            choice.choose(self.device)
        except BadInput as error:
            raise ConfigError([run.config.place(error)]) from error
        if self.given is False or self.given is None:
            run.directory = run_folders.free_folder(self.wanted)
            return
        run.directory, which = run_folders.find_run(self.given, self.wanted)
        if isinstance(which, Path):
            keeping.refuse_partial(which)
        self.resumed, self.named = True, which if isinstance(which, Path) else None
        run.id = run_folders.read_run(run.directory)["id"]

    def problems(self, run: Run) -> list[Problem]:
        """Return what stands in the way in the folder."""
        return run_files.problems(run, self.wanted)

    def hold(self, run: Run) -> None:
        """Keep every other run out of the folder; a new run takes the next one where somebody was faster."""
        if self.resumed:
            run.stack.enter_context(lock_folder(run.directory, create=False))
        else:
            with signals_after():
                self._claim = run.stack.enter_context(run_folders.claim(self.wanted))
                run.directory = self._claim.folder
                run.stack.callback(self._leave_nothing, run)
        leftovers.sweep(run.directory, run.message)

    def _leave_nothing(self, run: Run) -> None:
        """Give the folder up where this run ended before its first update and its first checkpoint."""
        assert self._claim is not None
        first = run.directory_of(run.fits[0])
        trained = run.started and (
            any(each.state.step for each in run.sessions.values()) or checkpoints.scan(first / run_folders.CHECKPOINTS)
        )
        if not run.results and not trained:
            self._claim.give_up(first)

    def describe(self, run: Run) -> None:
        """Write what this run is, so that it can be found, read and resumed; or hold a resumed one against it."""
        fits: list[dict[str, Any]] = [{"name": fit.name, "scope": fit.scope} for fit in run.fits]
        for said, fit in zip(fits, run.fits, strict=True):
            said |= {"auxiliary": True} if fit.auxiliary else {}
        config = wheel_cache.with_digests(run.config.deciding())
        facts = {"fits": fits, "config": config, "plugins": plugin_table(run.members)}
        facts |= computing_facts(run.config)
        # Between them the sets of the first fit hold every row, and the other fits share them out by the same settings.
        facts["rows"] = {name: told[:16] for name, told in run.first.data.digests().items()}
        # A fit that begins after a resume is to start as the others did.
        for fit in [run.main, *(fit for fit in run.fits if "model.pretrained" in fit.overrides)]:
            if digest := digest_at_start(run.variants.of(fit).config.model.settings):
                facts["model.pretrained_sha256" + (f" of {fit.name}" if fit.overrides else "")] = digest
        self.past.facts = facts
        self._plans = keeping.planned(run)
        writes = run_files.written_by_plugins(run)
        written = run_folders.run_documents(run.id, facts, to_yaml(run.config.resolved()), writes)
        if self.resumed:
            resume.check_run(run, self.past, self.named, self._plans)
            self._remember(run)
            run_files.note_writes(run)
        for name, content in written.items():
            path = run.directory / name
            if not path.exists():  # a kill may have come between the two
                if self._claim is not None:
                    self._claim.made.append(path)
                with run_folders.writing(path):
                    write_bytes_atomically(path, content)

    def _remember(self, run: Run) -> None:
        """Give the plugins of a resumed run back what they remembered when a fit had last ended or was told of."""
        done = [fit.name for fit in run.fits if ledger.is_kept(run.directory_of(fit))]
        if self.deliveries.read():
            keeping.forget_undone(run, self.deliveries, done)
            self.deliveries.restore(run.bus, done)
        elif done:
            run.message(
                f"{self.deliveries.place} is missing, so plugins are told again of the fits that are done", "warning"
            )

    def is_done(self, run: Run, fit: Fit) -> bool:
        """Return whether an earlier process finished a fit."""
        return self.resumed and ledger.is_kept(run.directory_of(fit))

    def finished(self, run: Run, fit: Fit, session: Callable[[], FitSession]) -> FitResult | None:
        """Return the result of a fit that is done; None where more was asked for and allowed.

        Args:
            run: The run.
            fit: The fit.
            session: Prepares it, which is done only where it may have more to do.
        """
        directory = run.directory_of(fit)
        known = ledger.read(directory, fit, run.id) if self.resumed else None
        if known is None:
            return None
        keeping.refuse_other_needs(run, fit)
        resume.check_finished(run, self.past, known)
        if self.past.may_grow and keeping.goes_on(run, session(), known):
            return None
        self._free(run, known)  # a kill may have come before it, and before this
        self._show_model(run, known)
        unused = self.named is not None and self.named.is_relative_to(directory.resolve())
        said = f"{fit.name} is already done, after {counted(known.steps, 'update')}: {directory}"
        run.message(said + (f"; {self.named} is not used" if unused else ""))
        return known

    def begin(self, directory: Path) -> None:
        """Make the folder of a fit."""
        with run_folders.writing(directory):
            directory.mkdir(parents=True, exist_ok=True)

    def restore(self, session: FitSession) -> None:
        """Put the newest good checkpoint of a fit back, or the one that was named; and write down what is begun."""
        run = self.run
        if self.resumed:
            keeping.refuse_trained_before(run, session.fit)
            resume.restore(run, session, self.past, self.named)
            resume.accept_changes(run, self.past)
            with run_folders.writing(session.directory):
                keeping.reopen(run, session.fit)
            keeping.forget_from(run, self.deliveries, session.fit)
        elif self.start is not None:
            resume.begin_with(session, self.start)
        with run_folders.writing(session.directory):
            keeping.write(run, session, self._plans)
        room.look(session)

    def keep(self, run: Run, result: FitResult) -> None:
        """Keep the result of a fit in the ledger, unless a signal cut it."""
        result.conditions = conditions_of(run.config)
        if result.status != "interrupted":
            stays = keeping.staying(run.sessions[result.fit.name])
            with run_folders.writing(result.directory):
                self.deliveries.note_end(run.bus, result.fit.name)
                ledger.write(result.directory, result, run.id, keeping.digest_of(result.directory), stays)
            self._free(run, result)
            self._show_model(run, result)

    def _free(self, run: Run, result: FitResult) -> None:
        """Remove what of the checkpoints of a finished fit need not stay."""
        stays = (ledger.entry_of(result.directory, result.fit.name, run.id) or {}).get("checkpoints")
        with run_folders.writing(result.directory):
            keeping.free(result.directory, stays, lambda text: run.message(text, "warning"))

    def is_told(self, what: str) -> bool:
        """Return whether plugins were told of a result."""
        return what in self.deliveries.told

    def note_told(self, run: Run, what: str) -> None:
        """Keep that plugins were told of a result, and what they remember."""
        with run_folders.writing(self.deliveries.place):
            self.deliveries.note_told(run.bus, what)

    def _show_model(self, run: Run, result: FitResult) -> None:
        """Let the run's folder lead to the model of its only fit."""
        if (
            run.alone
            and result.model_path is not None
            and (said := keeping.link_model(run.directory, result.model_path))
        ):
            run.message(said, "warning")

    def complete(self, run: Run, result: FitResult) -> None:
        """Keep how the models predict together, and what they said of the rows to predict."""
        opened.keep(run, result)
