from __future__ import annotations

import json
from pathlib import Path

import pytest
from stepbus import BadInput

from stepbus_sample.sparkline import command, sparkline


def write(folder: Path, *records: dict[str, object]) -> None:
    folder.mkdir()
    (folder / "history.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def test_the_least_is_lowest_and_the_greatest_highest() -> None:
    assert sparkline([0.0, 3.5, 7.0, 1.0]) == "▁▅█▂"
    assert sparkline([2.0, 2.0]) == "▁▁"


def test_it_draws_the_loss_of_each_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "fold-1", {"kind": "log", "loss": 1.0}, {"kind": "evaluation"}, {"kind": "log", "loss": 0.5})
    write(tmp_path / "fold-2", {"kind": "log", "loss": None}, {"kind": "log", "loss": 0.25})
    assert command([str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/fold-1  █▁  1 → 0.5\n{tmp_path}/fold-2  ▁  0.25 → 0.25\n"


def test_a_folder_without_a_history_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"expected a folder with a history\.jsonl in it"):
        command([str(tmp_path)])


def test_a_field_that_nobody_logs_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "fit", {"kind": "log", "loss": 1.0})
    with pytest.raises(BadInput, match="no log record has a number called 'los'"):
        command([str(tmp_path), "--field", "los"])
