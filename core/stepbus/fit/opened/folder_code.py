"""Code that a model folder names: which words are such, and where relative files start."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

# module:name or ./file.py:name, as opposed to a format string.
CODE = re.compile(r"[^{}\s]+:[A-Za-z_]\w*")


def from_folder(tree: dict[str, Any], sections: Sequence[str], folder: Path) -> dict[str, Any]:
    """Return a tree whose relative files start at the folder that names them, wherever the command was called.

    Args:
        tree: What a folder says of its configuration.
        sections: Its sections whose settings may name code, besides the plugins.
        folder: Where the model lies.
    """
    plugins = {
        name: {**settings, "use": _code_from(settings["use"], folder)}
        if isinstance(settings, dict) and "use" in settings
        else settings
        for name, settings in tree["plugins"].items()
    }
    return {**tree, **{name: _code_from(tree[name], folder) for name in sections}, "plugins": plugins}


def _code_from(value: Any, folder: Path) -> Any:
    """Return a value with "./file.py:Name" in it by absolute path."""
    if isinstance(value, Mapping):
        return {key: _code_from(item, folder) for key, item in value.items()}
    if isinstance(value, list):
        return [_code_from(item, folder) for item in value]
    if not isinstance(value, str) or not CODE.fullmatch(value):
        return value
    module, _, attribute = value.rpartition(":")
    if not module.endswith(".py") or module.startswith(("/", "~")):
        return value
    return f"{os.path.normpath(folder.resolve() / module)}:{attribute}"


def missing_code(tree: Mapping[str, Any], sections: Sequence[str]) -> tuple[str, str] | None:
    """Return where the first file of Python is named that is not there, and the file; None where all are.

    Args:
        tree: What `from_folder` returned.
        sections: As there.
    """
    uses = {f"plugins.{name}.use": each["use"] for name, each in tree["plugins"].items() if _has_use(each)}
    for path, value in [*uses.items(), *(found for name in sections for found in _texts(name, tree[name]))]:
        file = str(value).rpartition(":")[0]
        if CODE.fullmatch(str(value)) and file.endswith(".py") and not os.path.lexists(Path(file).expanduser()):
            return path, file
    return None


def _has_use(settings: Any) -> bool:
    return isinstance(settings, Mapping) and isinstance(settings.get("use"), str)


def _texts(path: str, value: Any) -> Iterator[tuple[str, str]]:
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        here = f"{path}.{key}"
        if isinstance(item, str):
            yield here, item
        yield from _texts(here, item)
