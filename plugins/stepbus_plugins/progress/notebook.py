"""Where progress is drawn in a notebook: one output of the cell, which changes in place. Knows no rich."""

from __future__ import annotations

import html
import sys
from collections.abc import Sequence
from typing import Any

WIDTH = 30  # letters of the bar where a frontend shows no HTML


class NotebookArea:
    """The live part of a cell: a bar and lines of named values; afterwards its last bar stays."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._bar: tuple[str, int, int, str] = ("", 0, 0, "")

    def draw(self, label: str, done: int, total: int, right: str, lines: Sequence[Sequence[tuple[str, str]]]) -> None:
        """Draw it; the arguments are those of `Screen.draw`."""
        self._bar = (label, done, total, right)
        self._show([" · ".join(f"{name} {value}".strip() for name, value in pairs) for pairs in lines])

    def clear(self) -> None:
        """Leave the bar alone, without what was said beside it."""
        if self._handle is not None:
            self._show([])
            self._handle = None

    def _show(self, lines: list[str]) -> None:
        from IPython.display import display  # which is there, for a notebook is what asks

        label, done, total, right = self._bar
        filled = WIDTH * done // max(total, 1)
        text = "\n".join(
            [f"  {label} [{'#' * filled}{'.' * (WIDTH - filled)}] {right}", *(f"  {line}" for line in lines)]
        )
        page = (
            f"<div>{html.escape(label)} <progress value='{done}' max='{max(total, 1)}'></progress> {html.escape(right)}"
            + "".join(f"<br>{html.escape(line)}" for line in lines)
            + "</div>"
        )
        bundle = {"text/plain": text, "text/html": page}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)


def in_notebook(stream: Any) -> bool:
    """Return whether what is written to a stream goes to a cell of a notebook.

    Args:
        stream: The standard output, or what stands for it.
    """
    streams: Any = sys.modules.get("ipykernel.iostream")
    return streams is not None and isinstance(stream, streams.OutStream)
