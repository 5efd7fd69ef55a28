"""Metrics that were passed in Python: no prediction needs one, and no file can name it, so a folder opens without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stepbus.config import Config
from stepbus.fit import PASSED

_FROM_PYTHON = "metrics_from_python"


def metrics_written(config: Config, offered: Mapping[str, str]) -> dict[str, Any]:
    """Return `metrics` as it was written; those of Python alone stand by themselves, for whoever passes them again.

    Args:
        config: The configuration.
        offered: Classes that were passed in Python and that a package offers, by name.
    """
    picked = config.training.metrics
    if picked is None:
        return {}
    gone = {each.provider for each in picked if each.provider.endswith(PASSED)} - {f"{cls} {PASSED}" for cls in offered}
    written = list(zip(config.tree["training"]["metrics"], picked, strict=True))
    found = {"metrics": [words for words, each in written if each.provider not in gone]}
    passed = [words for words, each in written if each.provider in gone]
    return {**found, _FROM_PYTHON: passed} if passed else found


def with_passed_metrics(tree: dict[str, Any], plugins: Sequence[Any]) -> dict[str, Any]:
    """Return a folder's tree with the metrics of Python that are passed again, and without the others.

    Args:
        tree: What the folder says; anything may stand in it.
        plugins: Classes and objects passed in Python.
    """
    training = tree.get("training")
    if not isinstance(training, dict) or _FROM_PYTHON not in training:
        return tree
    rest = {name: value for name, value in training.items() if name != _FROM_PYTHON}
    said, kept = training[_FROM_PYTHON], rest.get("metrics", [])
    if isinstance(said, list) and isinstance(kept, list):
        parts = [part for each in plugins for part in getattr(each, "components", ())]
        offered = {part.name for part in parts if getattr(part, "kind", "") == "metric"}
        names = [each.get("type") if isinstance(each, dict) else each for each in said]
        again = [each for each, name in zip(said, names, strict=True) if isinstance(name, str) and name in offered]
        rest["metrics"] = [*kept, *again]
    return {**tree, "training": rest}
