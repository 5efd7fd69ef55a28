"""A resumed run held against what its fits were begun with, before anything is trained: nothing old mixes with new."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from attrs import frozen

from stepbus.base import CheckpointError
from stepbus.kernel import Run
from stepbus.run import ledger
from stepbus.run.keeping import beginnings
from stepbus.run.keeping.beginnings import Begun
from stepbus.run.keeping.changes import other_rows, other_words, trained_before
from stepbus.run.keeping.row_marks import content_of, row_marks
from stepbus.storage import DESCRIPTION, checkpoints, from_json

if TYPE_CHECKING:
    from stepbus.fit import FitSession
    from stepbus.kernel import Fit

CHECKPOINTS = "checkpoints"
MOST = 8  # sentences of one refusal
INSTEAD = "remove this folder to do the fit again, or start a new run without --resume (in Python: resume)"


class Held(Run, Protocol):
    """A run, as it is held against what its fits were begun with."""

    def session_of(self, fit: Fit) -> FitSession:
        """Return the session of a fit, its data prepared."""


@frozen(eq=False)
class Differences:
    """What of a run is no more what its fits were begun with.

    Args:
        settings: Whether the description of a fit differs.
        sentences: What differs, a sentence each.
        rows: Fit -> set -> in words how its rows differ.
        known: Names of the sets of the first fit whose rows were compared one by one.
    """

    settings: bool
    sentences: list[str]
    rows: dict[str, dict[str, str]]
    known: list[str]


def planned(run: Run) -> dict[str, dict[str, str]]:
    """Return fit -> set -> a digest of the rows that the plan gives it, of those to which plugins add some later."""
    return {
        fit.name: {name: content_of(row_marks(rows)) for name, rows in fit.sets.items() if hasattr(rows, "pieces")}
        for fit in run.fits
        if fit.after
    }


def write(run: Run, session: FitSession, plans: dict[str, dict[str, str]]) -> None:
    """Write down what a fit is begun with.

    Args:
        run: The run.
        session: The fit, its data prepared.
        plans: What `planned` returned at the start of the run.
    """
    fit = session.fit
    more = {"planned": plans.get(fit.name, {}), "needs": needs(run, fit)}
    beginnings.write(run.directory_of(fit), run.id, fit, session.data.digests(), **more)


def needs(run: Run, fit: Fit) -> dict[str, str]:
    """Return fit or folder -> a digest of what another fit takes over from it."""
    names = {each.name: each for each in run.fits}
    found = {name: ledger.fingerprint(run.directory_of(names[name]), name, run.id) for name in fit.after}
    if fit.starts_from and fit.starts_from not in found:
        try:
            found[fit.starts_from] = from_json((Path(fit.starts_from) / DESCRIPTION).read_bytes())["digest"]
        except (OSError, ValueError, KeyError, TypeError):
            found[fit.starts_from] = ""
    return found


def differences(run: Held, plans: dict[str, dict[str, str]]) -> Differences:
    """Return what of the fits of a run is no more what they were begun with.

    Args:
        run: The run; rows that plugins add later are not there yet.
        plans: What `planned` returned.

    Raises:
        CheckpointError: What one was begun with is damaged or missing.
    """
    settings = False
    sentences: list[str] = []
    rows: dict[str, dict[str, str]] = {}
    known: list[str] = []
    for fit in run.fits:
        begun = begun_with(run, fit)
        if begun is None:
            continue
        words = list(other_words(begun, fit))
        settings, sentences = settings or bool(words), sentences + words
        found = other_rows(begun, fit, partial(_seen, run, fit), filled=not fit.after)
        was, now = begun.said["planned"], plans.get(fit.name, {})
        for name in sorted({*was, *now} - found.keys()):
            if was.get(name) != now.get(name):
                found[name] = f"the {name} rows that the plan gives it are others"
        if found:
            rows[fit.name] = found
            sentences += [f"{fit.name}: {words}" for words in dict.fromkeys(found.values())]
        if fit is run.fits[0]:
            known = [name for name, told in begun.said["sets"].items() if "content" in told]
    if len(sentences) > MOST:
        sentences = [*sentences[:MOST], f"… and {len(sentences) - MOST} more of this kind"]
    return Differences(settings, sentences, rows, known)


def _seen(run: Held, fit: Fit) -> Mapping[str, str]:
    return run.session_of(fit).data.digests()


def begun_with(run: Run, fit: Fit) -> Begun | None:
    """Return what a fit was begun with; None where it was not.

    Raises:
        CheckpointError: It was, and what says so is damaged or missing.
    """
    directory = run.directory_of(fit)
    entry = ledger.entry_of(directory, fit.name, run.id)
    if entry is None and not beginnings.is_there(directory) and not checkpoints.scan(directory / CHECKPOINTS):
        return None
    begun = beginnings.read(directory, fit.name, run.id)
    if entry is not None and entry["begun"] != begun.said["digest"]:
        raise CheckpointError(
            f"{directory / beginnings.BEGUN}: expected what {fit.name} was done with, got what it was begun with at "
            f"another time; bring it back from a copy, or remove {directory} to do this fit again"
        )
    return begun


def refuse_mixtures(run: Run, found: Differences) -> None:
    """Refuse what cannot be allowed: finished fits of other rows, which nobody could combine with those of these.

    Raises:
        CheckpointError: There is one, or a fit would go on with rows held out that it has trained on.
    """
    for fit in run.fits:
        directory = run.directory_of(fit)
        for name, words in found.rows.get(fit.name, {}).items():
            if ledger.is_kept(directory) and not run.alone:
                raise CheckpointError(
                    f"{directory}: {fit.name} was done with other {name} rows than the plan gives it now: {words}; "
                    f"give the old rows and folds back, {INSTEAD}"
                )
        if fit.name in found.rows and not ledger.is_kept(directory):
            refuse_trained_before(run, fit)


def refuse_trained_before(run: Run, fit: Fit) -> None:
    """Refuse to go on with a fit that has trained on rows that are held out now, or that took over another result.

    Args:
        run: The run.
        fit: The fit.

    Raises:
        CheckpointError: It has checkpoints, and such rows.
    """
    directory = run.directory_of(fit)
    begun = begun_with(run, fit)
    if begun is None or not checkpoints.scan(directory / CHECKPOINTS):
        return
    refuse_other_needs(run, fit)
    if rows := trained_before(begun, fit):
        raise CheckpointError(
            f"{directory}: the checkpoints of {fit.name} have trained on rows that are held out now: {rows}; give the "
            f"old rows and folds back, {INSTEAD}"
        )


def refuse_other_needs(run: Run, fit: Fit) -> None:
    """Refuse a fit that was done or begun with other results of the fits that it needs than there are now.

    Raises:
        CheckpointError: One of them was done again.
    """
    begun = begun_with(run, fit) if fit.after or fit.starts_from else None
    was: dict[str, Any] = {} if begun is None else begun.said["needs"]
    now = needs(run, fit) if was else {}
    for name in was:
        if now.get(name) not in (was[name], ""):  # one that is not done yet may come out as it did
            raise CheckpointError(
                f"{run.directory_of(fit)}: {fit.name} was begun with another result of {name} than there is now; "
                f"{INSTEAD}"
            )
