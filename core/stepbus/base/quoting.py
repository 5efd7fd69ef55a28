"""Texts that others wrote, as our sentences and files may hold them: no secrets, and nothing that a terminal obeys."""

from __future__ import annotations

import re
from typing import Any

from stepbus.base.spelling import as_written

# `//` may have become `/` where a URL was taken for a path. A password may hold what its URL should have escaped.
_IN_URL = re.compile(r"([A-Za-z][\w+.-]+(?<!\.py):/+)(?:[^\s/@'\"<>:]*:(?!\d+[/?#])[^\s'\"<>]*|[^\s/?#'\"<>]*)@")
_IN_QUERY = re.compile(
    r"([?&;][\w-]*(?:token|secret|password|passwd|pwd|api_?key|access_?key|signature|credential)[\w-]*=)[^\s&;#'\"<>]+",
    re.IGNORECASE,
)


def without_secrets(text: str) -> str:
    """Return a text whose URLs have `***` in place of user and password, and of what a query names a secret."""
    if ":/" not in text:
        return text
    return _IN_QUERY.sub(r"\1***", _IN_URL.sub(r"\1***@", text))


def values_without_secrets(value: Any) -> Any:
    """Return JSON values whose texts are `without_secrets`; what is stored holds no password.

    Args:
        value: Mappings, lists and scalars.
    """
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, dict):
        return {key: values_without_secrets(item) for key, item in value.items()}
    return [values_without_secrets(item) for item in value] if isinstance(value, list) else value


# All control characters but the line break and the tabulator: a terminal would obey them.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    r"""Return a text with control characters as Python writes them (\x1b); line breaks and tabulators stay."""
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def one_line(text: str, most: int = 200) -> str:
    """Return what somebody else wrote as a sentence can quote it: printable, without line breaks, never long.

    Args:
        text: The text.
        most: Letters after which it is cut.
    """
    cut = text if len(text) <= most else f"{text[:most]} …"
    return (
        printable(cut)
        .replace("\n", "\\n")
        .replace("\t", "\\t")
        .replace("\u2028", "\\u2028")
        .replace("\u2029", "\\u2029")
    )


def sentence(text: str) -> str:
    """Return a text as an error says it: printable, without secrets, and paths as they were written."""
    return printable(as_written(without_secrets(text)))
