"""Going on with a run: which folder, which checkpoint, and whether anything differs from what it began with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from stepbus.base import CheckpointError, counted, listed
from stepbus.base.trees import to_yaml
from stepbus.device import conditions
from stepbus.fit import conditions_of, keep_disabled, persistence
from stepbus.fit.plugins import compare_watchers
from stepbus.fit.saving import go_on_with
from stepbus.kernel import Fit, FitResult
from stepbus.run import keeping, ledger
from stepbus.run.files import RUN_FILE, read_run_file
from stepbus.run.folders import CONFIG_FILE, read_run, run_documents, writing
from stepbus.storage import check_file, checkpoints, write_bytes_atomically, written_table

if TYPE_CHECKING:
    from stepbus.fit import FitSession
    from stepbus.run.outer_loop import Run

# Names of a run and where it writes change nothing of what it computes; modules of hooks stand in the plugins' table.
# `training.exact` says what is compared here, and what `environment.debug` changes stands among the conditions.
HARMLESS = ("environment.output_dir", "environment.debug", "training.exact", "run", "config_digest", "hooks")


@define(eq=False)
class Past:
    """What a resumed run began with, and what of it may change.

    Args:
        allow_changed: Go on although something differs.
        facts: What the run is now.
        earlier: The facts before each change that was allowed.
        changed: Whether this resume has one that is not written yet.
        told: What was said of other conditions.
    """

    allow_changed: bool = False
    facts: dict[str, Any] = field(factory=dict)
    earlier: list[dict[str, Any]] = field(factory=list)
    changed: bool = False
    told: set[str] = field(factory=set)

    @property
    def may_grow(self) -> bool:
        """Whether a finished fit may have more to do: a change is allowed, or was and was not carried to its end."""
        return self.allow_changed or bool(self.earlier)


@frozen
class Start:
    """A checkpoint of another run to begin with.

    Args:
        path: Its folder.
        optimizer: Whether the optimizer's state is taken over as well.
    """

    path: Path
    optimizer: bool = True


def begin_with(session: FitSession, start: Start) -> None:
    """Begin a fit with a checkpoint of another run: all of it where the plan is the same, else with its weights alone.

    Args:
        session: An assembled fit, whose model has the weights of the checkpoint.
        start: The checkpoint.
    """
    checkpoint = checkpoints.verify(start.path)
    was, now = checkpoint.facts, persistence.facts(session)
    why = checkpoints.compare_facts(was, now, ignore=[*HARMLESS, "conditions"]) or _over(checkpoint, session)
    if not why:
        session.restore(start.path, optimizer=start.optimizer)
        return
    session.message(f"only the weights of {start.path} are taken over, because {'; '.join(why)}", "warning")


def _over(checkpoint: checkpoints.Checkpoint, session: FitSession) -> list[str]:
    """Return why a fit cannot go on from a checkpoint, or would have nothing to do."""
    if lacking := [name for name in checkpoint.lacks if name != "optimizer.safetensors"]:
        return [f"it has only what its use needs, and lacks {listed(lacking)}"]
    state, control = persistence.standing(checkpoint)
    if control.stop:
        return [f"its fit was stopped by {control.why('stop')}"]
    if state.step >= session.state.total_steps:
        return [f"all its {counted(state.step, 'update')} were done"]
    return []


def restore(run: Run, session: FitSession, past: Past, named: Path | None) -> None:
    """Put the newest good checkpoint of a fit back, or the one that was named.

    Args:
        run: The run.
        session: An assembled fit of it.
        past: What the run began with.
        named: A checkpoint of this fit or of another one, or None.

    Raises:
        CheckpointError: The named checkpoint is bad, all are, or something differs.
    """
    folder = persistence.checkpoint_folder(session)
    if named is not None and named.parent == folder.resolve():
        checkpoint = checkpoints.verify(named)
    else:
        newest = checkpoints.latest_valid(folder, lambda text: session.message(text, "warning"))
        if newest is None:
            return  # killed before its first checkpoint: this fit starts from the beginning
        checkpoint = newest
    now = persistence.facts(session)
    refuse_changes(run, past, str(checkpoint.path), checkpoint.facts, now)
    if checkpoint.path == named:
        checkpoints.set_aside(folder, checkpoint.step, session.message)
    session.restore(checkpoint.path)
    go_on_with(session, checkpoint.facts, now)


def check_run(run: Run, past: Past, named: Path | None, plans: dict[str, dict[str, str]]) -> None:
    """Hold a resumed run against what it began as, and every finished fit of it, before any weights are loaded.

    Raises:
        CheckpointError: Something differs, or what is finished is damaged.
    """
    saved = read_run(run.directory)
    if keeping.is_of_before(run.directory, [fit["name"] for fit in saved["facts"]["fits"]]):
        raise CheckpointError(
            f"{run.directory}: this run was written by an older stepbus, whose fit lies in the run's own folder; it "
            "opens to predict, and cannot go on: start a new run, with model.pretrained to begin with its weights"
        )
    found = keeping.differences(run, plans)
    # Rows that were compared one by one are said by their places, others by their digests.
    both = (saved["facts"], past.facts)
    was, now = ({**facts, "rows": _without(facts.get("rows", {}), found.known)} for facts in both)
    differences = refuse_changes(run, past, str(run.directory), was, now, found)
    keeping.refuse_mixtures(run, found)
    past.earlier = list(saved.get("earlier", []))
    if differences:
        past.earlier.append(saved["facts"])
    past.changed = bool(differences)
    try:
        check_file(run.directory / CONFIG_FILE, written_table(saved["files"])[CONFIG_FILE])
    except CheckpointError as error:
        run.message(f"{error}; it only shows what the run began with, and nothing reads it", "warning")
    # A damaged result of the last fold is worth knowing before the first ones are done again.
    for fit in run.fits:
        known = ledger.read(run.directory_of(fit), fit, run.id)
        # Who serves the whole run and was switched off is not even told that it begins.
        keep_disabled(run.bus, _disabled_at_last(run, fit, named) if known is None else known.disabled)


def _disabled_at_last(run: Run, fit: Fit, named: Path | None) -> dict[str, str]:
    """Return the plugins that an error had switched off at the checkpoint that an unfinished fit goes on from."""
    folder = run.directory_of(fit) / "checkpoints"
    own = named is not None and named.parent == folder.resolve()
    for path in [named] if own and named is not None else reversed(checkpoints.scan(folder)):
        try:
            saved = checkpoints.read_document(checkpoints.read_manifest(path), "state.json")
        except CheckpointError:
            continue  # when it is restored it is said, and the one before is taken
        found = saved.get("disabled") if isinstance(saved, dict) else None
        return {name: text for name, text in found.items() if isinstance(text, str)} if isinstance(found, dict) else {}
    return {}


def accept_changes(run: Run, past: Past) -> None:
    """Write what the run is from now on, once a fit goes on under changes that were allowed; what it was is kept.

    Raises:
        CheckpointError: A file cannot be written.
    """
    if not past.changed:
        return
    writes = (read_run_file(run.directory) or {}).get("writes", ())
    documents = run_documents(run.id, past.facts, to_yaml(run.config.resolved()), writes, past.earlier)
    # The run file is last: a kill in between leaves the old facts, with which the change is allowed once more.
    for name in (CONFIG_FILE, RUN_FILE):
        with writing(run.directory / name):
            write_bytes_atomically(run.directory / name, documents[name])
    past.changed = False


def _without(rows: dict[str, str], names: Sequence[str]) -> dict[str, str]:
    return {name: told for name, told in rows.items() if name not in names}


def refuse_changes(
    run: Run,
    past: Past,
    place: str,
    saved: dict[str, Any],
    now: dict[str, Any],
    found: keeping.Differences | None = None,
) -> list[str]:
    """Refuse what would make a resume inexact, by name; or only mention it, where that was allowed.

    Args:
        run: The run.
        past: What it began with.
        place: What is resumed, in messages.
        saved: Facts of what is resumed.
        now: Facts of the run.
        found: What differs of fits and rows.

    Returns:
        What differs, a sentence each.

    Raises:
        CheckpointError: Something differs.
    """
    watchers = compare_watchers(saved.get("plugins", {}), run.members)
    before = saved.get("conditions")
    others = _other_conditions(run, past, place, before, now["conditions"])
    # Of conditions, only those that decide more than last bits are refused like settings.
    kept = conditions.DECIDING if isinstance(before, dict) else ()
    was, is_now = (
        {**facts, "conditions": {name: facts["conditions"][name] for name in kept if name in facts["conditions"]}}
        for facts in (saved, now)
    )
    ignored = [*HARMLESS, *watchers.free]
    differences = [*checkpoints.compare_facts(was, is_now, ignore=ignored), *watchers.differences]
    # A checkpoint from before a change that was allowed, by a resume that got no further.
    for facts in past.earlier:
        before_that = {name: facts[name] for name in facts if name != "conditions"}
        known = {name: now[name] for name in before_that if name in now}
        allowed = checkpoints.compare_facts(before_that, known, ignore=ignored)
        allowed += compare_watchers(facts.get("plugins", {}), run.members).differences
        differences = [difference for difference in differences if difference not in allowed]
    what = "settings" if differences or found is None or found.settings else "rows"
    if found is not None and differences and found.rows:
        differences.append(f"the rows of {listed(found.rows)} are others")  # which follow from settings: no places
    elif found is not None:
        differences += found.sentences
    if differences and not past.allow_changed:
        lines = "\n  ".join(differences)
        raise CheckpointError(
            f"{place}: this run began with other {what}, so resuming would not be exact:\n  {lines}\n"
            "give the old ones back, or say --allow-changed (in Python: allow_changed=True)"
        )
    _refuse_others(run, past, place, others)
    for difference in differences:
        run.message(f"resumed although {difference}", "warning")
    for sentence in others:
        run.message(sentence, "warning")
    for sentence in watchers.said:
        if sentence not in past.told:  # the run and its checkpoints say the same
            past.told.add(sentence)
            run.message(sentence)
    return differences


def check_finished(run: Run, past: Past, result: FitResult) -> None:
    """Name other conditions under which a fit of this run was finished.

    Raises:
        CheckpointError: There are some, and `training.exact` asks for the same.
    """
    differences = conditions.compare(result.conditions, conditions_of(run.config)) if result.conditions else []
    if not differences:
        return
    was, now = (", ".join(getattr(each, side) for each in differences) for side in ("was", "now"))
    sentence = f"{result.fit.name} was done with {was}, and here are {now}: results may differ in their last bits"
    _refuse_others(run, past, str(result.directory), [sentence])
    run.message(sentence, "warning")


def _other_conditions(run: Run, past: Past, place: str, before: Any, now: dict[str, Any]) -> list[str]:
    """Return a sentence for each condition that is not what it was, and was not said of this run before."""
    if not isinstance(before, dict):
        found = {"": "the run does not say with what it began: results may differ in their last bits"}
    else:
        began = "began" if place == str(run.directory) else "its checkpoint was made"
        found = {
            f"{each.name} {each.was}": f"resumed with {each.now}, {began} with {each.was}: {each.effect}"
            for each in conditions.compare(before, now)
        }
    new = [sentence for key, sentence in found.items() if key not in past.told]
    past.told.update(found)
    return new


def _refuse_others(run: Run, past: Past, place: str, others: list[str]) -> None:
    if others and run.config.training.exact and not past.allow_changed:
        lines = "\n  ".join(others)
        raise CheckpointError(
            f"{place}: training.exact asks for the same bits, and they cannot be promised:\n  {lines}\n"
            "resume where and as the run began, or say --allow-changed (in Python: allow_changed=True)"
        )
