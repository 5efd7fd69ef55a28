"""Going on with a run: which folder, which checkpoint, and whether anything differs from what it began with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepbus import checkpoints, conditions, ledger, persistence
from stepbus.config import check_schedule
from stepbus.digests import check_file, written_table
from stepbus.durable import write_bytes_atomically
from stepbus.errors import CheckpointError, Problem
from stepbus.fits import Fit, FitResult, Plan, grown_axes
from stepbus.members import keep_disabled
from stepbus.run_files import RUN_FILE, read_run_file
from stepbus.run_folders import CONFIG_FILE, read_run, run_documents, writing
from stepbus.yaml_writer import to_yaml

if TYPE_CHECKING:
    from stepbus.run import Run
    from stepbus.trainer import Trainer

# Names of a run and where it writes change nothing of what it computes; modules of hooks stand in the plugins' table.
# `training.exact` says what is compared here.
HARMLESS = ("environment.output_dir", "training.exact", "run", "config_digest", "hooks")


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
    differences = refuse_changes(run, str(run.directory), saved["facts"], facts, allow_changed=allow_changed)
    run.earlier = list(saved.get("earlier", []))
    if differences:
        run.earlier.append(saved["facts"])
    run.changed = bool(differences)
    try:
        check_file(run.directory / CONFIG_FILE, written_table(saved["files"])[CONFIG_FILE])
    except CheckpointError as error:
        run.message(f"{error}; it only shows what the run began with, and nothing reads it", "warning")
    # A damaged result of the last fold is worth knowing before the first ones are done again.
    for fit in run.fits:
        known = ledger.read(run.directory_of(fit), fit, run.id)
        # Who serves the whole run and was switched off is not even told that it begins.
        keep_disabled(run.bus, _disabled_at_last(run, fit) if known is None else known.disabled)


def _disabled_at_last(run: Run, fit: Fit) -> dict[str, str]:
    """Return the plugins that an error had switched off at the checkpoint that an unfinished fit goes on from."""
    folder = run.directory_of(fit) / "checkpoints"
    named = run.resume if isinstance(run.resume, Path) and run.resume.parent == folder.resolve() else None
    for path in [named] if named is not None else reversed(checkpoints.scan(folder)):
        try:
            saved = checkpoints.read_document(checkpoints.read_manifest(path), "state.json")
        except CheckpointError:
            continue  # when it is restored it is said, and the one before is taken
        found = saved.get("disabled") if isinstance(saved, dict) else None
        return {name: text for name, text in found.items() if isinstance(text, str)} if isinstance(found, dict) else {}
    return {}


def accept_changes(run: Run) -> None:
    """Write what the run is from now on, once a fit goes on under changes that were allowed; what it was is kept.

    Raises:
        CheckpointError: A file cannot be written.
    """
    if not run.changed:
        return
    writes = (read_run_file(run.directory) or {}).get("writes", ())
    documents = run_documents(run.id, run.facts, to_yaml(run.config.resolved()), writes, run.earlier)
    # The run file is last: a kill in between leaves the old facts, with which the change is allowed once more.
    for name in (CONFIG_FILE, RUN_FILE):
        with writing(run.directory / name):
            write_bytes_atomically(run.directory / name, documents[name])
    run.changed = False


def refuse_changes(
    run: Run, place: str, saved: dict[str, Any], now: dict[str, Any], *, allow_changed: bool
) -> list[str]:
    """Refuse what would make a resume inexact, by name; or only mention it, where that was allowed.

    Returns:
        What differs, a sentence each.

    Raises:
        CheckpointError: Something differs.
    """
    watchers = [
        f"plugins.{member.name}" for member in run.members if not getattr(member.plugin, "affects_result", True)
    ]
    before = saved.get("conditions")
    others = _other_conditions(run, place, before, now["conditions"])
    # Of conditions, only those that decide more than last bits are refused like settings.
    kept = conditions.DECIDING if isinstance(before, dict) else ()
    was, is_now = (
        {**facts, "conditions": {name: facts["conditions"][name] for name in kept if name in facts["conditions"]}}
        for facts in (saved, now)
    )
    ignored = [*HARMLESS, *watchers]
    differences = checkpoints.compare_facts(was, is_now, ignore=ignored)
    # A checkpoint from before a change that was allowed, by a resume that got no further.
    for facts in run.earlier:
        before_that = {name: facts[name] for name in facts if name != "conditions"}
        known = {name: now[name] for name in before_that if name in now}
        allowed = checkpoints.compare_facts(before_that, known, ignore=ignored)
        differences = [difference for difference in differences if difference not in allowed]
    if differences and not allow_changed:
        listed = "\n  ".join(differences)
        raise CheckpointError(
            f"{place}: this run began with other settings, so resuming would not be exact:\n  {listed}\n"
            "give the old ones back, or say --allow-changed (in Python: allow_changed=True)"
        )
    _refuse_others(run, place, others, allow_changed=allow_changed)
    for difference in differences:
        run.message(f"resumed although {difference}", "warning")
    for sentence in others:
        run.message(sentence, "warning")
    return differences


def check_finished(run: Run, result: FitResult, *, allow_changed: bool) -> None:
    """Name other conditions under which a fit of this run was finished.

    Raises:
        CheckpointError: There are some, and `training.exact` asks for the same.
    """
    differences = conditions.compare(result.conditions, conditions.current()) if result.conditions else []
    if not differences:
        return
    was, now = (", ".join(getattr(each, side) for each in differences) for side in ("was", "now"))
    sentence = f"{result.fit.name} was done with {was}, and here are {now}: results may differ in their last bits"
    _refuse_others(run, str(result.directory), [sentence], allow_changed=allow_changed)
    run.message(sentence, "warning")


def _other_conditions(run: Run, place: str, before: Any, now: dict[str, Any]) -> list[str]:
    """Return a sentence for each condition that is not what it was, and was not said of this run before."""
    if not isinstance(before, dict):
        found = {"": "the run does not say with what it began: results may differ in their last bits"}
    else:
        began = "began" if place == str(run.directory) else "its checkpoint was made"
        found = {
            f"{each.name} {each.was}": f"resumed with {each.now}, {began} with {each.was}: {each.effect}"
            for each in conditions.compare(before, now)
        }
    new = [sentence for key, sentence in found.items() if key not in run.told]
    run.told.update(found)
    return new


def _refuse_others(run: Run, place: str, others: list[str], *, allow_changed: bool) -> None:
    if others and run.config.training.exact and not allow_changed:
        listed = "\n  ".join(others)
        raise CheckpointError(
            f"{place}: training.exact asks for the same bits, and they cannot be promised:\n  {listed}\n"
            "resume where and as the run began, or say --allow-changed (in Python: allow_changed=True)"
        )


def plan_problems(plan: Plan, *, can_combine: bool) -> list[Problem]:
    """Return what core itself finds wrong with a plan."""
    problems: list[Problem] = []
    training = plan.config.training
    problems += check_schedule(plan.config, plan.total_steps)
    if training.exact:
        problems += [Problem("training.exact", reason) for reason in conditions.unpromised()]
    if plan.monitor not in plan.metrics and plan.fits[0].monitored is not None:
        problems.append(plan.unknown_metric(plan.monitor, "training.monitor"))
    if training.eval_strategy == "steps" and plan.fits[0].monitored is None:
        problems.append(Problem("training.eval_strategy", "expected validation rows to evaluate, got none"))
    axes = grown_axes(plan.fits)
    if axes and not can_combine:
        problems.append(Problem("plugins", f"the plan has several fits along {axes[0]}, and no plugin combines them"))
    return problems
