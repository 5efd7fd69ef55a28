"""Views of rows: what a model says of several versions of each, combined; never during training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from attrs import evolve

from stepbus.base import PluginFailure, listed, show
from stepbus.fit.predicting.preparing import without_labels
from stepbus.kernel import Predictions

if TYPE_CHECKING:
    from stepbus.kernel import Bus, FitData, ScoredSet

# Its name, its rows (an id may come several times), and settings of section `data` that differ for it.
View: TypeAlias = tuple[str, Any, Mapping[str, Any]]
PLAIN = "plain"


def views_of(bus: Bus, trainer: Any, rows: Any) -> list[View]:
    """Return the views that plugins give of rows, beside the plain one.

    Args:
        bus: The plugins.
        trainer: The session, for the hook.
        rows: The rows, prepared; plugins see them without labels.

    Raises:
        PluginFailure: Two have one name, or nobody combines them.
    """
    if not bus.has("prediction_views"):
        return []
    shown = without_labels(rows, trainer.config.data.settings)
    given = [each for found in bus.in_order("prediction_views", trainer=trainer, rows=shown) for each in found]
    views: list[View] = [(name, seen, dict(*more)) for name, seen, *more in given]
    names = [PLAIN, *(name for name, *_ in views)]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise PluginFailure(
            f"{_who(bus)}: expected views of different names, none of them {PLAIN!r}, got {show(twice)} twice"
        )
    if views and not bus.has("combine_views"):
        raise PluginFailure(
            f"{_who(bus)} gives views of rows, and no plugin combines what is said of them (combine_views); write it: "
            "return stepbus.mean_predictions(list(predictions.values()))"
        )
    return views


def combined(
    bus: Bus, trainer: Any, plain: Predictions, views: Sequence[View], predict: Callable[[View], Predictions]
) -> Predictions:
    """Return what is said of rows in all views together.

    Args:
        bus: The plugins.
        trainer: The session, for the hook.
        plain: What is said of the rows as they are.
        views: The other views.
        predict: Gives what is said of a view.

    Raises:
        PluginFailure: A view is of other rows, or who combines them gives other ones.
    """
    said = {PLAIN: evolve(plain, labels=None, weights=None)}
    for view in views:
        said[view[0]] = _merged(predict(view), said[PLAIN], f"{_who(bus)}: view {view[0]!r}")
    found: Predictions | None = bus.hook.combine_views(trainer=trainer, predictions=MappingProxyType(said))
    if found is None:
        raise PluginFailure(f"no plugin combined the views {listed(said)} (combine_views)")
    if len(found.values) != len(plain.values) or found.row_ids.tolist() != plain.row_ids.tolist():
        who = " or ".join(each.plugin_name for each in bus.hook.combine_views.get_hookimpls())
        raise PluginFailure(
            f"{who}: combine_views: expected predictions of the {len(plain.row_ids)} rows in their order, got "
            f"{len(found.values)}; return evolve(predictions['plain'], values=…)"
        )
    return evolve(found, labels=plain.labels, weights=plain.weights)


def seen_otherwise(data: FitData, config: Any, view: View) -> ScoredSet:
    """Return a view as a set to predict.

    Args:
        data: What turns the plain rows into batches.
        config: Its configuration.
        view: The view; its settings of section `data` are for its rows alone.
    """
    # They bring MLX, which a scripted run has none of.
    from stepbus.fit import new_encoder
    from stepbus.text import TextData

    name, rows, settings = view
    if not settings or not isinstance(data, TextData):
        return data.other(rows, name, labelled=False)
    changed = config.updated({f"data.{key}": value for key, value in settings.items()})
    encoder = new_encoder(changed)
    encoder.load_state_dict(data.encoder.state_dict())
    encoder.limits = data.encoder.limits
    return TextData(changed, encoder, {}).other(rows, name, labelled=False)


def _merged(said: Predictions, plain: Predictions, where: str) -> Predictions:
    """Return the predictions of a view aligned with the plain ones: of several rows of an id their mean.

    Raises:
        PluginFailure: It has other ids, or lacks one.
    """
    places = {row: place for place, row in enumerate(plain.row_ids.tolist())}
    where_to = [places.get(row) for row in said.row_ids.tolist()]
    if None in where_to or len(set(where_to)) < len(places):
        raise PluginFailure(f"{where}: expected rows of each of the {len(places)} ids and of no other")
    order, total = np.array(where_to, np.int64), np.zeros(plain.values.shape, np.float64)
    np.add.at(total, order, said.values)
    counts = np.bincount(order, minlength=len(places)).reshape(-1, *[1] * (total.ndim - 1))
    return evolve(plain, values=(total / counts).astype(said.values.dtype))


def _who(bus: Bus) -> str:
    return " or ".join(each.plugin_name for each in bus.hook.prediction_views.get_hookimpls())
