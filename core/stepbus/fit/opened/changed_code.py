"""Plugins whose code is other than when something was trained: what it predicts now may be other as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stepbus.base import listed, snake_case
from stepbus.fit import source_digest, version_of
from stepbus.fit.predicting import takes_part

if TYPE_CHECKING:
    from stepbus.config import Config, PluginChoice


def other_code(saved: Any, config: Config, plugins: Sequence[Any] = ()) -> str:
    """Return a sentence about the plugins whose code is not what it was, or "" where there are none.

    The built-in ones are left out: they are of one stepbus, whose version a folder says.

    Args:
        saved: Name -> version, or a row of `plugin_table`; from a folder, so it may be anything.
        config: The configuration that was opened.
        plugins: Classes and objects passed in Python.
    """
    if not isinstance(saved, Mapping):
        return ""
    # Classes are looked at, and nothing is made of them: prediction may need none.
    now = {each.name: (each.loaded.cls, version_of(each.loaded)) for each in config.plugins if _is_foreign(each)}
    for extra in plugins:
        cls = extra if isinstance(extra, type) else type(extra)
        now[snake_case(cls.__name__)] = (cls, source_digest(cls))
    names = []
    for name, (cls, version) in now.items():
        row = saved.get(name)
        was = row.get("version") if isinstance(row, Mapping) else row
        predicts = any(takes_part(cls, of_run=run) for run in (True, False))
        offers = predicts or bool(getattr(cls, "components", ()))
        # Of a class that was typed in at a prompt no source is known.
        if offers and was and version and was != version:
            names.append(name)
    if not names:
        return ""
    code = f"the code of the plugin {names[0]}" if len(names) == 1 else f"the code of the plugins {listed(names)}"
    return (
        f"{code} is other than when this was trained, so what it predicts now may be other as well; bring the old code "
        "back, or train again"
    )


def _is_foreign(choice: PluginChoice) -> bool:
    return choice.loaded.origin != "built-in"
