"""Classes that were passed in Python and that installed packages offer: a folder names them as these do."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable
from typing import Any

from stepbus.config.discovery import installed
from stepbus.fit.predicting import takes_part

_SWITCH = re.compile(r"switch it on with plugins: \{(\w+): \{\}\}")


def entry_names(plugins: Iterable[Any]) -> dict[str, str]:
    """Return the names under which installed packages offer what was passed in Python; nothing is imported.

    Who takes part in a prediction with its hooks is none of them: it has settings and a memory of its own.

    Args:
        plugins: Classes and objects passed in Python.

    Returns:
        Name of the class -> name in a configuration.
    """
    found: dict[str, str] = {}
    known = installed()
    for each in plugins:
        cls = each if inspect.isclass(each) else type(each)
        if takes_part(cls, of_run=False):
            continue
        for name, point in known.items():
            module, _, attribute = point.value.partition(":")
            if not point.rivals and getattr(sys.modules.get(module), attribute, None) is cls:
                found[cls.__name__] = name
    return found


def as_handed_over(words: str) -> str:
    """Return words that say how a file switches a plugin on, for who opens a folder and has no file.

    Args:
        words: Such as Components.nearest gives.
    """

    def mend(match: re.Match[str]) -> str:
        point = installed().get(match[1])
        cls = point.value.rpartition(":")[2] if point is not None else match[1]
        return f"hand it over as the training did, open_trainer(PATH, plugins=[{cls}])"

    return _SWITCH.sub(mend, words)
