"""Names and words as a notebook shows them, and folders as they are named from here."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path


def html_table(pairs: Sequence[tuple[str, str]]) -> str:
    """Return names and words as a table for a notebook.

    Args:
        pairs: Any texts; they are escaped.
    """
    left = ' style="text-align: left"'
    rows = "".join(
        f"<tr><th{left}>{html.escape(name)}</th><td{left}>{html.escape(words)}</td></tr>" for name, words in pairs
    )
    return f"<table><tbody>{rows}</tbody></table>"


def short_path(path: Path) -> str:
    """Return a folder as it is named from here."""
    try:
        here = Path.cwd()
    except OSError:  # it was removed
        return str(path)
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
