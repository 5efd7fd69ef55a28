"""`prepare_data`: plugins change the cells of rows before they are tokens; of labels they see those of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from attrs import evolve

from stepbus.base import PluginFailure, show
from stepbus.text.rows import Rows, a_thing

if TYPE_CHECKING:
    from stepbus.kernel import Bus, Fit

HOOK = "prepare_data"


def prepared_fit(bus: Bus, trainer: Any, fit: Fit) -> Fit:
    """Return a fit with the rows that plugins made of its own.

    Args:
        bus: The plugins of the fit.
        trainer: Its session.
        fit: The fit.
    """
    if not bus.has(HOOK):
        return fit
    return evolve(fit, sets=prepared(bus, trainer, fit.sets, trainer.config.data.settings))


def prepared(bus: Bus, trainer: Any, sets: Mapping[str, Any], settings: Any) -> dict[str, Any]:
    """Return sets of rows as plugins made them.

    Args:
        bus: The plugins.
        trainer: The session, for the hook.
        sets: Set name -> rows; without `train`, plugins use what they remember.
        settings: Section `data`, which names the labels.

    Raises:
        PluginFailure: A plugin gives other sets, other rows, or labels.
    """
    if not bus.has(HOOK):
        return dict(sets)
    hidden = {name: rows if name == "train" else without_labels(rows, settings) for name, rows in sets.items()}

    def check(name: str, given: Mapping[str, Any]) -> None:
        if given.keys() != hidden.keys():
            raise PluginFailure(f"{name}: {HOOK}: expected the sets {', '.join(hidden)}, got {', '.join(given)}")
        for key, rows in given.items():
            _check_rows(name, key, hidden[key], rows, apart(settings))

    given = bus.thread(HOOK, told=check, trainer=trainer, sets=MappingProxyType(hidden))
    return {name: rows if name == "train" else _with_labels(rows, sets[name]) for name, rows in given.items()}


def apart(settings: Any) -> list[str]:
    """Return the columns of a data section that only training rows show: labels, soft ones too."""
    label = settings.label
    soft = getattr(settings, "soft_labels", None) or {}
    return [*([label] if isinstance(label, str) else label or ()), *soft.values()]


def without_labels(rows: Any, settings: Any) -> Any:
    """Return rows as plugins see them where no label may be seen: without those columns, and without other rows."""
    if not isinstance(rows, Rows):
        return rows  # batches, or the rows of a script
    frame = rows.frame.drop(columns=[name for name in apart(settings) if name in rows.frame.columns])
    return evolve(rows, frame=frame, whole=None, soft=None, classes=())


def _with_labels(rows: Any, original: Any) -> Any:
    """Return the rows of a plugin with what was hidden from it."""
    if not isinstance(rows, Rows):
        return rows
    hidden = [name for name in original.frame.columns if name not in rows.frame.columns]
    frame = rows.frame.assign(**{str(name): original.frame[name].to_numpy() for name in hidden})
    return evolve(original, frame=frame)


def _check_rows(plugin: str, name: str, given: Any, rows: Any, labels: Sequence[str]) -> None:
    """Refuse rows of a plugin that are other ones.

    Raises:
        PluginFailure: They are, or hold labels.
    """
    where = f"{plugin}: {HOOK}: set {name!r}"
    if type(rows) is not type(given):
        raise PluginFailure(f"{where}: expected {a_thing(given)}, got {a_thing(rows)}; return evolve(rows, frame=…)")
    if name == "train":
        if not len(rows):
            raise PluginFailure(f"{where}: expected at least one row, got none")
        return
    if len(rows) != len(given) or list(rows.ids) != list(given.ids):
        raise PluginFailure(
            f"{where}: expected the same {len(given)} ids in the same order, got {len(rows)} others; only training "
            "rows may be left out or added"
        )
    if isinstance(rows, Rows) and (found := [label for label in labels if label in rows.frame.columns]):
        raise PluginFailure(f"{where}: expected no labels, got a column {show(found[0])}; give it another name")
    if isinstance(rows, Rows) and len(rows.frame) != len(rows.ids):
        raise PluginFailure(f"{where}: expected a frame of {len(rows.ids)} rows, got one of {len(rows.frame)}")
