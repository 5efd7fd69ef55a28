"""The fits of a planned run: rows and labels of each set, the shapes of its batches, its steps."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen

from stepbus.base import BadInput
from stepbus.compute import warmup_steps
from stepbus.fit import text_of
from stepbus.text import count_steps, epoch_shapes
from stepbus.text.labels import label_counts
from stepbus.text.rows import rows_that_count

if TYPE_CHECKING:
    from stepbus.config import Config
    from stepbus.fit import FitSession
    from stepbus.kernel import Fit
    from stepbus.run import Run
    from stepbus.text import TextData
    from stepbus.text.batches import ShapePlan
    from stepbus.text.rows import Rows


Array = np.ndarray[Any, Any]


@frozen(eq=False)
class KnownRows:
    """What is known of labelled rows since the first fit was prepared; other fits deal the same ones out otherwise.

    Args:
        places: Source and number of a row -> its place in the arrays.
        lengths: Tokens of each row, [N].
        targets: Its label, as metrics want it, [N] or [N, K].
    """

    places: dict[tuple[str, int], int]
    lengths: Array
    targets: Array

    def find(self, rows: Rows) -> Array | None:
        """Return where rows stand in the arrays, or None where one of them is unknown."""
        places = [self.places.get((rows.source, number)) for number in rows.numbers.tolist()]
        return None if None in places else np.array(places, dtype=np.int64)


def known_rows(session: FitSession) -> KnownRows:
    """Return what the first fit tells of its rows.

    Args:
        session: A fit whose data is prepared.
    """
    data, fit = text_of(session), session.fit
    names = [name for name in data.encoded if fit.is_labelled(name)]
    every = [(rows.source, int(row)) for name in names for rows in [data.encoded[name]] for row in rows.numbers]
    places = {row: place for place, row in enumerate(every)}  # one that stands in two sets is the same in both
    return KnownRows(
        places,
        np.concatenate([data.tokens[name].lengths for name in names]),
        np.concatenate([data.targets[name] for name in names]),
    )


def describe_fits(run: Run, session: FitSession | None) -> list[dict[str, Any]]:
    """Return what each fit of a run does, in the order in which they are done, as far as data could be prepared.

    Args:
        run: The run; its fits are planned.
        session: The main fit, where its data could be prepared.
    """
    known = None if session is None else known_rows(session)
    data = None if session is None else text_of(session)
    filling = [member.name for member in run.bus.members_with("fill_fit")]
    found = []
    for fit in run.fits:
        config = run.config
        with suppress(BadInput):  # overrides that cannot be used are among the problems
            config = run.variants.of(fit).config
        own = data if session is not None and fit is session.fit else None
        found.append(_described(config, own, data, fit, known, filling if fit.after else []))
    return found


def _described(
    config: Config,
    own: TextData | None,
    first: TextData | None,
    fit: Fit,
    known: KnownRows | None,
    filled_by: list[str],
) -> dict[str, Any]:
    """Return what one fit does.

    Args:
        config: The configuration.
        own: Its data, where that was prepared.
        first: The data of the main fit, where that was prepared.
        fit: The fit.
        known: What is known of single rows.
        filled_by: The plugins that fill it once others are done.
    """

    def labels(place: Array | None) -> dict[str, float] | None:
        if first is None or known is None or place is None:
            return None
        return label_counts(first.codec, known.targets[place])

    given = {name: rows_that_count(rows) if name == "train" else rows for name, rows in fit.sets.items()}
    found = {
        name: None if known is None or not fit.is_labelled(name) else known.find(rows) for name, rows in given.items()
    }
    sets = {
        name: {"rows": len(rows), "roles": list(fit.roles_of(name)), "labels": labels(place)}
        for (name, rows), place in zip(given.items(), found.values(), strict=True)
    }
    train, shapes = found.get("train"), None if own is None or filled_by else own.shapes
    if shapes is None and first is not None and known is not None and train is not None:
        # Rows that it may be filled with are those that are predicted: with all of them, there are most updates.
        predicted = [first.tokens[name].lengths for name in fit.with_role("predict") if name in first.tokens]
        lengths = np.concatenate([known.lengths[train], *(predicted if filled_by else [])])
        shapes = epoch_shapes(config, lengths, first.encoder.limits)
    return {
        "name": fit.name,
        "scope": dict(fit.scope),
        "seed": fit.seed,
        "notice": fit.notice,
        "monitored": fit.monitored,
        "sets": sets,
        "after": list(fit.after),
        "starts_from": fit.starts_from,
        "overrides": dict(fit.overrides),
        "auxiliary": fit.auxiliary,
        "filled_by": filled_by,
        "exact": own is not None and not filled_by,
        **_batches(config, shapes),
        "cut": None if own is None else own.tokens["train"].truncated,
    }


def _batches(config: Config, shapes: ShapePlan | None) -> dict[str, Any]:
    if shapes is None:
        names = ("batches", "shapes", "traces", "padding", "batches_in_words", "epochs", "steps_per_epoch", "steps")
        return dict.fromkeys((*names, "warmup_steps"))
    per_epoch, total = count_steps(config, shapes)
    return {
        "batches": shapes.epoch_batches(drop_last=config.data.settings.drop_last),
        "shapes": [
            {"rows": bucket.rows, "tokens": bucket.length, "batches": bucket.batches}
            for bucket in shapes.buckets
            if bucket.batches
        ],
        "traces": shapes.signatures,
        "padding": round(shapes.waste, 4),
        "batches_in_words": shapes.describe(),
        "epochs": config.training.num_epochs,
        "steps_per_epoch": per_epoch,
        "steps": total,
        "warmup_steps": min(warmup_steps(config.scheduler.settings, total), total),
    }
