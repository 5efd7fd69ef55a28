"""Tables that were written beside a result, read when they are asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from stepbus.base import did_you_mean

if TYPE_CHECKING:
    import pandas as pd

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|-?inf|nan")


class TableFiles(Mapping[str, "pd.DataFrame"]):
    """The CSV tables of some folders, by name.

    Args:
        folders: Where they lie; a folder may be missing.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        found = (path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*.csv")))
        self._files = {path.stem: path for path in found}

    def __getitem__(self, name: str) -> pd.DataFrame:
        """Return a table; a column of numbers has numbers, NaN where a cell is empty, and any other what is written."""
        if name not in self._files:
            near = did_you_mean(str(name), self._files)
            raise KeyError(f"there is no table {name!r}{near}; there are {', '.join(self._files) or 'none'}")
        import pandas as pd

        frame = pd.read_csv(self._files[name], dtype=str, keep_default_na=False, encoding="utf-8")
        for position, column in enumerate(frame.columns):
            cells = frame.iloc[:, position]
            if any(cells) and all(not cell or _NUMBER.fullmatch(cell) for cell in cells):
                frame[column] = pd.to_numeric(cells.where(cells != "", None))
        return frame

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __repr__(self) -> str:
        return f"<tables {', '.join(self._files) or 'none'}>"
