"""The fits of a planned run: rows and labels of each set, the shapes of its batches, its steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen

from stepbus.compute import warmup_steps
from stepbus.fit import text_of
from stepbus.text import count_steps, epoch_shapes
from stepbus.text.labels import label_counts
from stepbus.text.rows import rows_that_count

if TYPE_CHECKING:
    from stepbus.config import Config
    from stepbus.fit import FitSession
    from stepbus.kernel import Fit
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


def describe_fits(config: Config, session: FitSession | None, fits: list[Fit]) -> list[dict[str, Any]]:
    """Return what each fit does, as far as the data of the first could be prepared.

    Args:
        config: The configuration.
        session: The first fit, where its data could be prepared.
        fits: All of them.
    """
    known = None if session is None else known_rows(session)
    data = None if session is None else text_of(session)
    return [
        _described(config, data if session is not None and fit is session.fit else None, data, fit, known)
        for fit in fits
    ]


def _described(
    config: Config, own: TextData | None, first: TextData | None, fit: Fit, known: KnownRows | None
) -> dict[str, Any]:
    """Return what one fit does.

    Args:
        config: The configuration.
        own: Its data, where that was prepared.
        first: The data of the first fit, where that was prepared.
        fit: The fit.
        known: What is known of single rows.
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
    train, shapes = found.get("train"), None if own is None else own.shapes
    if shapes is None and first is not None and known is not None and train is not None:
        shapes = epoch_shapes(config, known.lengths[train], first.encoder.limits)
    return {
        "name": fit.name,
        "scope": dict(fit.scope),
        "seed": fit.seed,
        "notice": fit.notice,
        "monitored": fit.monitored,
        "sets": sets,
        "exact": own is not None,
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
