"""What a component of kind `data` gives, looked at where it comes in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stepbus.base import DataError, PluginError, show_python
from stepbus.base.guards import Maker
from stepbus.storage import to_json

if TYPE_CHECKING:
    from stepbus.text.rows import Rows

METHODS = ("fit", "texts", "state_dict", "load_state_dict")


def check_source(source: Any, maker: Maker) -> None:
    """Refuse what cannot turn rows into texts.

    Args:
        source: What the component built.
        maker: Whose it is.

    Raises:
        PluginError: A method of `stepbus.TextSource` is missing.
    """
    missing = [name for name in METHODS if not callable(getattr(source, name, None))]
    if missing:
        words = f"expected the methods {', '.join(METHODS)} of a stepbus.TextSource, got none called {missing[0]}"
        raise maker.fault(words, PluginError)


def checked_texts(given: Any, rows: Rows, maker: Maker) -> tuple[list[str], list[str] | None]:
    """Return what `texts` gave: a text for each row, and the second texts or None.

    Raises:
        DataError: There are more or fewer of them than rows.
        PluginFailure: It is something else.
    """
    if not isinstance(given, tuple) or len(given) != 2:
        raise maker.fault(f"texts: expected (one text a row, the second texts or None), got {show_python(given)}")
    for texts in given:
        if texts is None and texts is not given[0]:
            continue
        if not isinstance(texts, list):
            raise maker.fault(f"texts: expected a list of texts, got {show_python(texts)}")
        if len(texts) != len(rows):
            words = f"{rows.source}: expected a text for each of {len(rows)} rows, got {len(texts)}"
            raise DataError(maker.signed(words))
        wrong = next((place for place, text in enumerate(texts) if not isinstance(text, str)), None)
        if wrong is not None:
            raise maker.fault(f"texts: expected a text for {rows.where(wrong)}, got {show_python(texts[wrong])}")
    return given


def checked_state(given: Any, maker: Maker) -> dict[str, Any]:
    """Return what `state_dict` gave, which model folders keep.

    Raises:
        PluginFailure: It is no mapping of JSON values.
    """
    if not isinstance(given, Mapping):
        raise maker.fault(f"state_dict: expected a mapping of JSON values, got {show_python(given)}")
    try:
        to_json(given)
    except ValueError as error:
        raise maker.fault(f"state_dict: {error}") from error
    return dict(given)
