"""Settings that name places and code: an exported folder holds no places."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from stepbus.base import Selected
from stepbus.fit.opened.folder_code import CODE


def without_places(value: Any, written: Any) -> Any:
    """Return settings as they were written, without the places in them."""
    settings = value.settings if isinstance(value, Selected) else value
    if isinstance(written, Mapping) and isinstance(settings, Mapping):
        return {key: without_places(settings.get(key), item) for key, item in written.items()}
    if not isinstance(written, Mapping) or not attrs.has(type(settings)):
        return written
    fields = {field.alias or field.name: field for field in attrs.fields(type(settings))}
    kept = {}
    for key, item in written.items():
        if key not in fields:
            kept[key] = item
        elif fields[key].metadata.get("location") and item is None:
            continue
        elif place_of(fields[key], item) in (None, "code"):
            kept[key] = without_places(getattr(settings, fields[key].name), item)
    return kept


def place_of(field: Any, value: Any) -> str | None:
    """Return what a value names: a file, a source, an output or code; or None where it names no place."""
    location: str | None = field.metadata.get("location")
    texts = [str(item) for item in (value if isinstance(value, list | tuple) else [value]) if _is_text(item)]
    if location == "code":
        texts = [text for text in texts if CODE.fullmatch(text)]
    return location if texts else None


def _is_text(value: Any) -> bool:
    return isinstance(value, str | Path)
