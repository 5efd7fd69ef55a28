"""Going on with a run: which folder, which checkpoint, and whether anything differs from what it began with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepbus import checkpoints, persistence
from stepbus.config import check_schedule
from stepbus.durable import from_json
from stepbus.errors import CheckpointError, Problem
from stepbus.fits import Plan, grown_axes
from stepbus.paths import usable

if TYPE_CHECKING:
    from stepbus.run import Run
    from stepbus.trainer import Trainer

RUN_FILE = "run.json"
# Names of a run and where it writes change nothing of what it computes; modules of hooks stand in the plugins' table.
HARMLESS = ("environment.output_dir", "run", "config_digest", "hooks")


def free_folder(wanted: Path) -> Path:
    """Return `wanted`, or wanted-2, wanted-3, … where a run lies already."""
    folder, number = wanted, 1
    while (folder / RUN_FILE).exists():
        number += 1
        folder = wanted.with_name(f"{wanted.name}-{number}")
    return folder


def find_run(given: bool | str | Path, wanted: Path) -> Path:
    """Return the folder of the run to go on with.

    Args:
        given: True for the newest run of the output folder; or the path of a run, of a fit, or of a checkpoint.
        wanted: The configured output folder.

    Raises:
        CheckpointError: There is no run.
    """
    if given is True:
        newest, following = None, wanted
        number = 1
        while (following / RUN_FILE).exists():
            newest = following
            number += 1
            following = wanted.with_name(f"{wanted.name}-{number}")
        if newest is None:
            raise CheckpointError(f"{wanted}: there is no run to resume here; leave --resume out to start one")
        return newest
    path = usable(given, CheckpointError, "resume")  # type: ignore[arg-type]  # False never comes here
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such run or checkpoint")
    for folder in (path, *path.resolve().parents):
        if (folder / RUN_FILE).exists():
            return folder
    raise CheckpointError(f"{path}: expected a run's folder or one of its checkpoints, found no {RUN_FILE}")


def read_run(directory: Path) -> dict[str, Any]:
    """Return what a run's folder says it is."""
    path = directory / RUN_FILE
    try:
        found: dict[str, Any] = from_json(path.read_text(encoding="utf-8"))
        if not isinstance(found["id"], str) or not isinstance(found["facts"], dict):
            raise ValueError("expected id and facts")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: expected what a run is, got a damaged file ({error})") from error
    return found


def restore(trainer: Trainer, given: bool | str | Path, *, allow_changed: bool) -> None:
    """Put the newest good checkpoint of a fit back, or the one that was named.

    Args:
        trainer: An assembled fit.
        given: True, a run's path, or a checkpoint's path.
        allow_changed: Go on although something differs.

    Raises:
        CheckpointError: The named checkpoint is bad, all are, or something differs.
    """
    folder = persistence.checkpoint_folder(trainer)
    named = None if given is True else Path(given)  # type: ignore[arg-type]  # False never comes here
    if named is not None and checkpoints.step_of(named.name) is not None and named.resolve().parent == folder.resolve():
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
    """Hold a resumed run against what it began as, before any weights are loaded.

    Raises:
        CheckpointError: Something differs.
    """
    saved = read_run(run.directory)["facts"]
    refuse_changes(run, str(run.directory), saved, facts, allow_changed=allow_changed)


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
