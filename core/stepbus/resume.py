"""Going on with a run: which folder, which checkpoint, and whether anything differs from what it began with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepbus import checkpoints, ledger, persistence
from stepbus.config import check_schedule
from stepbus.digests import check_file, written_table
from stepbus.errors import CheckpointError, Problem
from stepbus.fits import Plan, grown_axes
from stepbus.run_folders import CONFIG_FILE, read_run

if TYPE_CHECKING:
    from stepbus.run import Run
    from stepbus.trainer import Trainer

# Names of a run and where it writes change nothing of what it computes; modules of hooks stand in the plugins' table.
HARMLESS = ("environment.output_dir", "run", "config_digest", "hooks")


def restore(trainer: Trainer, named: Path | None, *, allow_changed: bool) -> None:
    """Put the newest good checkpoint of a fit back, or the one that was named.

    Args:
        trainer: An assembled fit.
        named: A checkpoint of this fit or of another one, or None.
        allow_changed: Go on although something differs.

    Raises:
        CheckpointError: The named checkpoint is bad, all are, or something differs.
    """
    folder = persistence.checkpoint_folder(trainer)
    if named is not None and named.parent == folder.resolve():
        checkpoint = checkpoints.verify(named)
    else:
        newest = checkpoints.latest_valid(folder, lambda text: trainer.message(text, "warning"))
        if newest is None:
            return  # killed before its first checkpoint: this fit starts from the beginning
        checkpoint = newest
    refuse_changes(
        trainer.run, str(checkpoint.path), checkpoint.facts, persistence.facts(trainer), allow_changed=allow_changed
    )
    if checkpoint.path == named:
        checkpoints.set_aside(folder, checkpoint.step, trainer.message)
    planned = (trainer.state.total_steps, trainer.state.steps_per_epoch)
    persistence.load(trainer, checkpoint.path)
    trainer.state.total_steps, trainer.state.steps_per_epoch = planned
    trainer.message(f"resumed at step {checkpoint.step} from {checkpoint.path}")


def check_run(run: Run, facts: dict[str, Any], *, allow_changed: bool) -> None:
    """Hold a resumed run against what it began as, and every finished fit of it, before any weights are loaded.

    Raises:
        CheckpointError: Something differs, or what is finished is damaged.
    """
    saved = read_run(run.directory)
    refuse_changes(run, str(run.directory), saved["facts"], facts, allow_changed=allow_changed)
    try:
        check_file(run.directory / CONFIG_FILE, written_table(saved["files"])[CONFIG_FILE])
    except CheckpointError as error:
        run.message(f"{error}; it only shows what the run began with, and nothing reads it", "warning")
    # A damaged result of the last fold is worth knowing before the first ones are done again.
    for fit in run.fits:
        ledger.read(run.directory_of(fit), fit, run.id)


def refuse_changes(run: Run, place: str, saved: dict[str, Any], now: dict[str, Any], *, allow_changed: bool) -> None:
    """Refuse what would make a resume inexact, by name; or only mention it, where that was allowed.

    Raises:
        CheckpointError: Something differs.
    """
    watchers = [
        f"plugins.{member.name}" for member in run.members if not getattr(member.plugin, "affects_result", True)
    ]
    differences = checkpoints.compare_facts(saved, now, ignore=[*HARMLESS, *watchers])
    if differences and not allow_changed:
        listed = "\n  ".join(differences)
        raise CheckpointError(
            f"{place}: this run began with other settings, so resuming would not be exact:\n  {listed}\n"
            "give the old ones back, or say --allow-changed"
        )
    for difference in differences:
        run.message(f"resumed although {difference}", "warning")


def plan_problems(plan: Plan, *, can_combine: bool) -> list[Problem]:
    """Return what core itself finds wrong with a plan."""
    problems: list[Problem] = []
    training = plan.config.training
    problems += check_schedule(plan.config, plan.total_steps)
    if plan.monitor not in plan.metrics and plan.has_validation:
        problems.append(plan.unknown_metric(plan.monitor, "training.monitor"))
    if training.eval_strategy == "steps" and not plan.has_validation:
        problems.append(Problem("training.eval_strategy", "expected validation rows to evaluate, got none"))
    axes = grown_axes(plan.fits)
    if axes and not can_combine:
        problems.append(Problem("plugins", f"the plan has several fits along {axes[0]}, and no plugin combines them"))
    return problems
