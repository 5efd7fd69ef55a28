"""One fit of a run: taken from the ledger where it is finished, gone on with where it was cut, or done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stepbus import assembly, checkpoints, conditions, ledger, persistence, resume, run_folders
from stepbus.errors import CheckpointError
from stepbus.interruption import noted_signals
from stepbus.summary import fit_facts
from stepbus.wording import counted

if TYPE_CHECKING:
    from stepbus.fits import Fit, FitResult
    from stepbus.run import Run
    from stepbus.trainer import Trainer


def do_fit(run: Run, fit: Fit) -> FitResult:
    """Return the result of one fit of a run.

    Args:
        run: The run; its folder is held, and the data of its first fit is prepared.
        fit: What to do.
    """
    directory = run.directory_of(fit)
    known = ledger.read(directory, fit, run.id) if run.resume else None
    named = run.resume if isinstance(run.resume, Path) else None
    if known is not None:
        resume.check_finished(run, known, allow_changed=run.allow_changed)
    trainer = run.trainer
    # How much there is to do of a finished fit matters only where more may have been asked for.
    if fit is not run.fits[0] and (known is None or _may_grow(run)):
        trainer = type(trainer)(run.config, trainer.given_model, plugins=trainer.plugins)
        assembly.prepare_data(trainer, run, fit)
    if known is not None and not _goes_on(run, trainer, known):
        unused = named is not None and named.is_relative_to(directory.resolve())
        said = f"{fit.name} is already done, after {counted(known.steps, 'update')}: {directory}"
        run.message(said + (f"; {named} is not used" if unused else ""))
        return known
    with run_folders.writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
    assembly.assemble(trainer, run.members, alone=run.alone)
    if run.resume:
        resume.restore(trainer, named, allow_changed=run.allow_changed)
        resume.accept_changes(run)
    assembly.compile_steps(trainer)
    trainer.facts = fit_facts(trainer)
    if not run.started:  # from now on a signal waits for a boundary; before, it ended the run at once
        run.started = True
        run.stack.enter_context(noted_signals(run))
    result = trainer.run_to_end()
    result.conditions = conditions.current()
    if result.status != "interrupted":
        with run_folders.writing(directory):
            ledger.write(directory, result, run.id)
    return result


def _may_grow(run: Run) -> bool:
    """Say whether a finished fit may have more to do: a change is allowed, or was and was not carried to its end."""
    return run.allow_changed or bool(run.earlier)


def _goes_on(run: Run, trainer: Trainer, known: FitResult) -> bool:
    """Say whether a finished fit has more to do, because the epochs or steps were raised and that was allowed.

    Raises:
        CheckpointError: It has, and no checkpoint is left to go on from.
    """
    total = trainer.state.total_steps
    if not _may_grow(run) or total <= known.steps:
        return False
    if known.status == "stopped":
        run.message(f"{known.fit.name} was stopped, and does not train on: {known.reason}")
        return False
    folder = persistence.checkpoint_folder(trainer)
    if not checkpoints.scan(folder):
        raise CheckpointError(
            f"{folder}: expected a checkpoint to go on from, since {total:,} updates are planned and {known.steps:,} "
            f"done, got none; start a new run from the finished weights with model.pretrained: {known.model_path}"
        )
    run.message(f"{known.fit.name} was done after {counted(known.steps, 'update')}, and goes on to {total:,}")
    return True
