"""What made an update one of numbers that are not finite: where it began, and in which rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepbus.compute.watching import Diagnosis, Finding, advice, amount, in_words

if TYPE_CHECKING:
    from stepbus.compute.watching import Found
    from stepbus.config import Config
    from stepbus.fit import Fitting
    from stepbus.storage.checkpoints import NotFiniteError

SET = "train"
AVERAGE = "the average of {}"


def steps_ahead(config: Config) -> int:
    """Return how many steps the device may run ahead of the host: none where each is looked at.

    Args:
        config: The configuration.
    """
    depth = config.training.pipeline_depth
    if config.environment.debug or depth is not None:
        return 0 if config.environment.debug else depth or 0
    from stepbus.device import choice

    return int(choice.kind() != "cpu")


def conditions_of(config: Config) -> dict[str, Any]:
    """Return what the last bits of fits depend on besides settings, rows and seed.

    Args:
        config: The configuration.
    """
    from stepbus.device import conditions

    return conditions.current() | ({"compile": "off"} if config.environment.debug else {})


def computing_facts(config: Config) -> dict[str, Any]:
    """Return what a run and its checkpoints say of how they compute: the conditions, and the precision in use.

    Args:
        config: The configuration.
    """
    from stepbus.device import choice

    precision = choice.effective_precision(config.training.precision)
    return {"conditions": conditions_of(config), "precision": precision}


def explained(session: Fitting) -> Diagnosis | None:
    """Compute the update that came home last once more, and return what is known of it.

    Args:
        session: The fit.

    Returns:
        None where its numbers are finite, or where nothing is computed, as in a scripted fit.
    """
    found: Found | None = session.steps.diagnose() or _spoiled_average(session)
    return None if found is None else diagnosis(session, found)


def spoiled(session: Fitting) -> str:
    """Return which weight of a fit is not finite as it stands, in words; "" where each is, with what averages it.

    Args:
        session: The fit, with nothing in flight.
    """
    if "steps" not in vars(session):  # a fit that failed before it had any
        return ""
    found: Found | None = session.steps.spoiled() or _spoiled_average(session)
    finding = None if found is None else found.finding
    if finding is None:
        return ""
    name = AVERAGE.format(finding.name) if finding.kind == "average" else finding.name
    return f"{name} is not finite ({amount(finding)})"


def to_look_at(session: Fitting) -> dict[str, Any]:
    """Return what `spoiled` looks at, by what messages call it: weights, and what averages them.

    Args:
        session: The fit, with nothing in flight.
    """
    from mlx.utils import tree_flatten

    flat: Any = tree_flatten(session.model.trainable_parameters())
    averages = session.optimizer.averages.of(session.optimizer.trained(session.model)) if session.averages else {}
    return dict(flat) | {AVERAGE.format(name): array for name, array in averages.items()}


def spoiled_words(found: NotFiniteError) -> str:
    """Return the words of `spoiled` for what a thread found.

    Args:
        found: What it found.
    """
    array = found.array
    kind = f"{array.dtype.rpartition('.')[2]} {list(array.shape)}"
    finding = Finding("update", found.name, kind, found.nan, found.infinite, array.nbytes // array.itemsize)
    return f"{found.name} is not finite ({amount(finding)})"


def spoiled_arrays(session: Fitting) -> str:
    """Return which array of a plugin, that follows the weights, became NaN since it began, in words; "" for none.

    What is infinite may be meant, as a least value so far.

    Args:
        session: The fit, with nothing in flight.
    """
    followers = session.optimizer.followers
    if not followers.given:
        return ""
    from mlx.utils import tree_flatten

    from stepbus.compute.watching import became_nan

    for each in followers.given:
        before: Any = tree_flatten(each.arrays)
        now: Any = tree_flatten(followers.state["plugins"][each.name])
        if found := became_nan(dict(before), dict(now)):
            name, number, kind = found
            return f"the array {name!r} of {each.maker.said} has {number:,} NaN, {kind}"
    return ""


def _spoiled_average(session: Fitting) -> Found | None:
    if not session.averages:
        return None
    averages = session.optimizer.averages
    return session.steps.spoiled(averages.of(session.optimizer.trained(session.model)))  # type: ignore[no-any-return]


def diagnosis(session: Fitting, found: Found) -> Diagnosis:
    """Return what was found, with the names of rows.

    Args:
        session: The fit.
        found: What was found.
    """
    named = [session.data.named_rows(batch) for batch in found.window]
    batch = tuple(name for names in named for name in names if name is not None)
    rows = _those(named, _places(found))
    finding = found.finding
    return Diagnosis(
        found.step,
        "" if finding is None else finding.kind,
        "" if finding is None else finding.name,
        "" if finding is None else finding.layer,
        rows,
        batch,
        SET,
        found.overflow,
        in_words(found, rows, batch, SET),
        advice(found),
    )


def told(session: Fitting, found: Found) -> str:
    """Return what was found as a sentence of its own.

    Args:
        session: The fit.
        found: What was found.
    """
    known = diagnosis(session, found)
    return f"step {known.step}: {known.words}; {known.advice}"


def _places(found: Found) -> list[tuple[int, int]]:
    """Return which rows of which batches are not finite: those whose loss is not, else those of the array."""
    finding = found.finding
    if finding is not None and finding.kind not in ("batch", "input", "activation", "loss"):
        return []  # a weight or a gradient makes every row what it is
    if finding is not None and finding.rows and (finding.kind == "batch" or not found.losses):
        return [(finding.batch, row) for row in finding.rows]
    return [(batch, row) for batch, rows in sorted(found.losses.items()) for row in rows]


def _those(named: list[Any], places: list[tuple[int, int]]) -> tuple[Any, ...]:
    found = [named[batch][row] for batch, row in places if batch < len(named) and row < len(named[batch])]
    return tuple(name for name in found if name is not None)
