"""Plugins whose code is other than when something was trained: what it predicts now may be other as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stepbus.base import listed
from stepbus.fit import prototypes
from stepbus.fit.predicting import takes_part

if TYPE_CHECKING:
    from stepbus.config import Config


def other_code(saved: Any, config: Config, plugins: Sequence[Any] = ()) -> str:
    """Return a sentence about the plugins whose code is not what it was, or "" where there are none.

    The built-in ones are left out: they are of one stepbus, whose version a folder says.

    Args:
        saved: Name -> version, or a row of `plugin_table`; from a folder, so it may be anything.
        config: The configuration that was opened.
        plugins: Classes and objects passed in Python.
    """
    ours = {choice.name for choice in config.plugins if choice.loaded.origin == "built-in"}
    if not isinstance(saved, Mapping) or not (plugins or len(ours) < len(config.plugins)):
        return ""
    names = []
    for member in prototypes(config, plugins):
        row = saved.get(member.name)
        was = row.get("version") if isinstance(row, Mapping) else row
        predicts = any(takes_part(member.plugin, of_run=run) for run in (True, False))
        offers = predicts or bool(getattr(member.plugin, "components", ()))
        # Of a class that was typed in at a prompt no source is known.
        if member.name not in ours and offers and was and member.version and was != member.version:
            names.append(member.name)
    if not names:
        return ""
    code = f"the code of the plugin {names[0]}" if len(names) == 1 else f"the code of the plugins {listed(names)}"
    return (
        f"{code} is other than when this was trained, so what it predicts now may be other as well; bring the old code "
        "back, or train again"
    )
