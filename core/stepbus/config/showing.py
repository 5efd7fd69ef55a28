"""What a configuration shows of itself: the settings that somebody made, over the defaults."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from typing import Any

from stepbus.base import as_written, counted, one_line, show, values_without_secrets
from stepbus.base.trees import Node, to_yaml


class ShownConfig:
    """How a configuration is shown: as the YAML of what was set, a preset's settings among them.

    Example:
        >>> from stepbus import load_config
        >>> print(load_config({"optimizer": {"learning_rate": 1e-5}}))
        optimizer:
          learning_rate: 1e-5
    """

    __slots__ = ()
    _user: Node
    _extras: tuple[Any, ...]

    def __str__(self) -> str:
        tree = _plain(values_without_secrets(self._user.plain()))
        text = as_written(to_yaml(tree)).rstrip() if tree else "# the defaults"
        passed = ", ".join(getattr(each, "__name__", None) or type(each).__name__ for each in self._extras)
        return f"{text}\n# passed in Python: {passed}" if passed else text

    def __repr__(self) -> str:
        return f"<Config: {settings_in_brief(self)}>"

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def settings_in_brief(config: ShownConfig, most: int = 6) -> str:
    """Return what was set on one line: "optimizer.learning_rate 1e-05, training.num_epochs 2".

    Args:
        config: The configuration.
        most: Settings after which the others are counted.
    """
    found = list(_leaves(values_without_secrets(config._user.plain())))
    found.sort(key=lambda pair: pair[0].startswith("model."))  # most of a model that was given, and it says them itself
    shown = [f"{path} {one_line(as_written(_word(value)), 60)}" for path, value in found[:most]]
    more = [counted(len(found) - most, "more", "more")] if len(found) > most else []
    return ", ".join([*shown, *more]) or "the defaults"


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}" if path else str(name))
    elif path:
        yield path, value


def _word(value: Any) -> str:
    return value if isinstance(value, str) else show(value)


def _plain(value: Any) -> Any:
    """Return values as YAML has them; of an object that was passed in Python what `str` says of it."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value if value is None or isinstance(value, str | bool | int | float) else str(value)
