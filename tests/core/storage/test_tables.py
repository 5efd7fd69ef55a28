"""Tables beside a result, read when they are asked for."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from stepbus.storage import TableFiles


def test_cells_are_as_they_are_written_and_numbers_are_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("name,n,x,code,none\nNA,1,0.5,007,\n,2,,1,\n")
    found = TableFiles([tmp_path, tmp_path / "missing"])
    assert (list(found), len(found), repr(found)) == (["a"], 1, "<tables a>")
    table = found["a"]
    assert table.name.tolist() == ["NA", ""]
    assert (table.n.tolist(), table.code.tolist(), table["none"].tolist()) == ([1, 2], ["007", "1"], ["", ""])
    assert table.x[0] == 0.5 and math.isnan(table.x[1])


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match=r"there is no table 'x'; there are none"):
        _ = TableFiles([tmp_path])["x"]
