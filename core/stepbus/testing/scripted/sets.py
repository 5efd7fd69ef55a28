"""Row sets of a scripted run with rows to predict among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepbus.testing.script import ScriptedRows


def sets_to_predict(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row sets of a scripted run with rows to predict among them: a set `test`.

    Args:
        told: What `play` takes; of sets that are given there, the last one is predicted as well.
    """
    sets = dict(told.get("sets") or ())
    if not sets:
        rows = told.get("steps_per_epoch", 5) * (told.get("data") or {}).get("batch_size", 4)
        sets["train"] = ScriptedRows("train", rows)
        if told.get("metrics"):
            sets["validation"] = ScriptedRows("validation", 6)
        return {**sets, "test": ScriptedRows("test", 5)}
    return sets if "test" in sets else {**sets, "test": list(sets.values())[-1]}
