"""The fits of a planned run: rows and labels of each set, the shapes of its batches, its steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen

from stepbus.assembly import count_steps, epoch_shapes
from stepbus.label_numbers import label_counts
from stepbus.scheduler import warmup_steps

if TYPE_CHECKING:
    from stepbus.config import Config
    from stepbus.fits import Fit
    from stepbus.rows import Rows
    from stepbus.shapes import ShapePlan
    from stepbus.trainer import Trainer

Array = np.ndarray[Any, Any]


@frozen(eq=False)
class KnownRows:
    """What is known of single rows since the first fit was prepared; other fits deal the same rows out otherwise.

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


def known_rows(trainer: Trainer) -> KnownRows:
    """Return what the first fit tells of its rows.

    Args:
        trainer: A trainer whose data is prepared.
    """
    places: dict[tuple[str, int], int] = {}
    for rows in trainer.fit.sets.values():
        for number in rows.numbers.tolist():
            places[rows.source, number] = len(places)
    names = list(trainer.fit.sets)
    return KnownRows(
        places,
        np.concatenate([trainer.tokens[name].lengths for name in names]),
        np.concatenate([trainer.targets[name] for name in names]),
    )


def describe_fits(trainer: Trainer, fits: list[Fit]) -> list[dict[str, Any]]:
    """Return what each fit does, as far as the data of the first could be prepared.

    Args:
        trainer: The trainer of the first fit.
        fits: All of them.
    """
    prepared = hasattr(trainer, "shapes")
    known = known_rows(trainer) if prepared else None
    return [_described(trainer, fit, known, exact=prepared and fit is fits[0]) for fit in fits]


def _described(trainer: Trainer, fit: Fit, known: KnownRows | None, *, exact: bool) -> dict[str, Any]:
    def labels(place: Array | None) -> dict[str, float] | None:
        return None if known is None or place is None else label_counts(trainer.encoder.codec, known.targets[place])

    found = {name: None if known is None else known.find(rows) for name, rows in fit.sets.items()}
    sets = {
        name: {"rows": len(rows), "labels": labels(place)}
        for (name, rows), place in zip(fit.sets.items(), found.values(), strict=True)
    }
    train, shapes = found.get("train"), trainer.shapes if exact else None
    if shapes is None and known is not None and train is not None:
        shapes = epoch_shapes(trainer.config, known.lengths[train], trainer.encoder.limits)
    return {
        "name": fit.name,
        "scope": dict(fit.scope),
        "seed": fit.seed,
        "notice": fit.notice,
        "monitored": fit.monitored,
        "sets": sets,
        "exact": exact,
        **_batches(trainer.config, shapes),
        "cut": trainer.tokens["train"].truncated if exact else None,
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
