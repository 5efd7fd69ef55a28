"""Where progress is drawn: a bar below permanent lines on a terminal, one that changes in its place in a notebook, and
plain lines anywhere else.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Sequence
from typing import IO, Literal

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stepbus_plugins.progress.notebook import NotebookArea, in_notebook
from stepbus_plugins.progress.stream import TolerantFile

Pairs = Sequence[tuple[str, str]]


class Screen:
    """Permanent lines and tables, and on a terminal or in a notebook a live part.

    Args:
        bar: Whether there is a live part: auto (on a terminal and in a notebook), always or never.
        refresh_per_second: How often the live part is drawn at most.
        file: The stream; standard output when not given.
    """

    def __init__(
        self, bar: Literal["auto", "always", "never"], refresh_per_second: float, file: IO[str] | None = None
    ) -> None:
        stream = file or sys.stdout
        output = TolerantFile(stream)
        terminal = output.isatty() and os.environ.get("TERM") != "dumb"
        self._area = NotebookArea() if bar != "never" and in_notebook(stream) else None
        self.styled = self._area is None and (bar == "always" or (bar == "auto" and terminal))
        self.live = self.styled or self._area is not None
        output.strip = not self.styled
        self.console = Console(
            file=output,  # type: ignore[arg-type]  # a stream as far as rich looks
            force_terminal=self.styled,
            force_jupyter=False,
            # Lines of a log are never folded.
            width=None if self.styled else 1000,
            highlight=False,
            markup=False,
            emoji=False,
        )
        self._period = 1 / refresh_per_second
        self._drawn = 0.0
        self._live: Live | None = None

    def line(self, *parts: tuple[str, str] | str) -> None:
        """Write one permanent line of words, or of (words, style)."""
        text = self._text(*parts)
        if self.styled:
            self.console.print(text, soft_wrap=True)
        else:  # nothing to style: rich would take a hundred times as long, at every log interval
            self.console.file.write(f"{text.plain}\n")
            self.console.file.flush()

    def pairs(self, rows: Pairs) -> None:
        """Write two aligned columns: names and what they stand for."""
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in rows:
            grid.add_row(self._text((f"  {name}", "dim")), self._text(value))
        self.console.print(grid)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Write a table with a title; columns of numbers are aligned to the right, too wide a table comes in parts."""
        self.line()
        self.line((title, "bold"))
        widths = [max(map(len, [column, *(row[at] for row in rows)])) + 3 for at, column in enumerate(columns)]
        parts, room = [[0]], self.console.width - widths[0] - 2
        for at in range(1, len(columns)):
            # Each part begins with the first column, which says what a row is.
            if room < widths[at] and len(parts[-1]) > 1:
                parts.append([0])
                room = self.console.width - widths[0] - 2
            parts[-1].append(at)
            room -= widths[at]
        for part in parts:
            self._part([columns[at] for at in part], [[row[at] for at in part] for row in rows])

    def _part(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        table = Table(box=box.SIMPLE_HEAD if self.styled else None, header_style="dim")
        for at, column in enumerate(columns):
            cells = [row[at] for row in rows if row[at]]
            numbers = bool(cells) and all(re.match(r"[-+]?[\d.]|nan$|-$", cell) for cell in cells)
            table.add_column(self._text(column), justify="right" if numbers else "left")
        for row in rows:
            table.add_row(*(self._text(cell) for cell in row))
        self.console.print(Padding(table, (0, 0, 0, 1)))

    def due(self) -> bool:
        """Return whether the live part may be drawn again."""
        return self.live and time.monotonic() - self._drawn >= self._period

    def draw(self, label: str, done: int, total: int, right: str, lines: Sequence[Pairs]) -> None:
        """Draw the live part: a bar, and lines of named values.

        Args:
            label: What runs.
            done: Steps finished.
            total: Steps altogether.
            right: What stands behind the bar.
            lines: For each line its (name, value) pairs; a pair without a name is words.
        """
        if not self.live:
            return
        self._drawn = time.monotonic()
        if self._area is not None:
            self._area.draw(label, done, total, right, lines)
            return
        grid = Table.grid(padding=(0, 2), expand=True)
        grid.add_column(no_wrap=True)
        grid.add_column(ratio=1)
        grid.add_column(no_wrap=True)
        bar = ProgressBar(total=max(total, 1), completed=done, complete_style="cyan", finished_style="green")
        grid.add_row(self._text((f"  {label}", "bold")), bar, self._text(f"{right}  "))
        self._show(Group(grid, *(self._named(pairs) for pairs in lines)))

    def clear(self) -> None:
        """Take the live part away; in a notebook its bar stays."""
        if self._area is not None:
            self._area.clear()
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()

    def _show(self, content: RenderableType) -> None:
        if self._live is None:
            # No refresh thread: it would take turns with the training step. Lines of others appear above.
            self._live = Live(content, console=self.console, auto_refresh=False, transient=True)
            self._live.start(refresh=True)
        else:
            self._live.update(content, refresh=True)

    def _named(self, pairs: Pairs) -> Text:
        text = Text("  ", no_wrap=True, overflow="ellipsis")
        for number, (name, value) in enumerate(pairs):
            text.append(" · " if number else "", "dim")
            text.append(f"{name} " if name else "", "dim")
            text.append(value)
        return text

    def _text(self, *parts: tuple[str, str] | str) -> Text:
        text = Text()
        for part in parts:
            words, style = (part, "") if isinstance(part, str) else part
            text.append(words, style if self.styled else "")
        return text
