"""history: strict JSON, the cut on resume, torn lines, the table."""

from __future__ import annotations

import csv
import errno
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepbus import Control, StepbusError, TrainingState
from stepbus_plugins.history import History, as_line, as_table, read_records, salvage


class Fit:
    """A fit of `steps` updates that logs every second step and evaluates every fourth."""

    def __init__(self, folder: Path, *, step: int = 0, saved: dict[str, Any] | None = None) -> None:
        self.plugin = History(History.Config())
        self.artifacts: list[tuple[str, Path]] = []
        self.said: list[tuple[str, str]] = []
        self.trainer = SimpleNamespace(
            directory=folder,
            run=SimpleNamespace(),
            artifact=lambda kind, path: self.artifacts.append((kind, path)),
            control=Control(asking="early_stopping"),
            message=lambda text, level: self.said.append((text, level)),
        )
        self.state = TrainingState(step=step, steps_per_epoch=8, total_steps=16)
        if saved is not None:
            self.plugin.load_state_dict(saved)
        self.plugin.on_fit_start(self.trainer, self.state)

    def train(self, until: int) -> None:
        while self.state.step < until:
            self.state.step += 1
            step = self.state.step
            if step % 2 == 0:
                record = {"step": step, "epoch": step / 8, "loss": 1 / step, "sequences_per_second": 10.0 + step}
                self.plugin.on_log(self.state, record)
            if step % 4 == 0:
                self.plugin.on_evaluate_start("steps")
                metrics = {"eval_loss": 2 / step, "eval_seconds": 0.1}
                self.plugin.on_evaluate(self.state, "validation", metrics)

    def end(self, status: str = "ok") -> None:
        self.plugin.on_fit_end(self.trainer, self.state, SimpleNamespace(times={}, status=status))


def test_records_arrive_in_order_and_the_clock_is_kept_apart(tmp_path: Path) -> None:
    fit = Fit(tmp_path)
    fit.train(4)
    fit.trainer.control.request_stop("enough")
    fit.end("stopped")
    log_2, log_4, evaluation, end = read_records(tmp_path / "history.jsonl")
    assert log_2 == {"kind": "log", "step": 2, "epoch": 0.25, "loss": 0.5, "timing": {"sequences_per_second": 12.0}}
    assert log_4["step"] == 4
    assert evaluation == {
        "kind": "evaluation",
        "step": 4,
        "epoch": 0.5,
        "set": "validation",
        "reason": "steps",
        "eval_loss": 0.5,
        "timing": {"eval_seconds": 0.1},
    }
    assert end == {"kind": "end", "step": 4, "status": "stopped", "why": "early_stopping at step 0: enough"}
    assert fit.artifacts == [("history", tmp_path / "history.jsonl"), ("history", tmp_path / "history.csv")]


def test_each_record_is_on_disk_at_once(tmp_path: Path) -> None:
    fit = Fit(tmp_path)
    fit.train(2)
    assert (tmp_path / "history.jsonl").read_text().count("\n") == 1


@pytest.mark.parametrize("cut", range(1, 16))
@pytest.mark.parametrize("with_state", [True, False])
def test_resumed_equals_uninterrupted(tmp_path: Path, cut: int, with_state: bool) -> None:
    whole = Fit(tmp_path / "whole")
    whole.train(16)
    whole.end()

    killed = Fit(tmp_path / "killed")
    killed.train(cut)
    saved = json.loads(json.dumps(killed.plugin.state_dict())) if with_state else None
    killed.train(15)  # work that the checkpoint does not know of
    with (tmp_path / "killed" / "history.jsonl").open("a") as file:
        file.write('{"kind": "log", "st')
    resumed = Fit(tmp_path / "killed", step=cut, saved=saved)
    resumed.train(16)
    resumed.end()
    for name in ("history.jsonl", "history.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_an_evaluation_after_the_last_checkpoint_is_not_kept_twice(tmp_path: Path) -> None:
    """The final evaluation shares its step with the checkpoint before it, so only the count tells them apart."""
    fit = Fit(tmp_path)
    fit.train(4)
    saved = fit.plugin.state_dict()
    fit.plugin.on_evaluate(fit.state, "validation", {"eval_loss": 0.25})
    fit.end("failed")
    Fit(tmp_path, step=4, saved=saved)
    assert [record["kind"] for record in read_records(tmp_path / "history.jsonl")] == ["log", "log", "evaluation"]


def test_a_fit_that_begins_anew_begins_a_new_file(tmp_path: Path) -> None:
    fit = Fit(tmp_path)
    fit.train(8)
    Fit(tmp_path)
    assert (tmp_path / "history.jsonl").read_text() == ""


def test_an_evaluation_outside_a_fit_is_not_written(tmp_path: Path) -> None:
    plugin = History(History.Config())
    plugin.on_evaluate(TrainingState(), "validation", {"eval_loss": 1.0})
    fit = Fit(tmp_path)
    fit.end()
    fit.plugin.on_evaluate(fit.state, "validation", {"eval_loss": 1.0})
    assert len(read_records(tmp_path / "history.jsonl")) == 1


def test_numbers_that_json_cannot_say_are_null_with_their_text(tmp_path: Path) -> None:
    line = as_line({"kind": "log", "step": 1, "loss": math.nan, "gradient_norm": math.inf})
    assert json.loads(line, parse_constant=pytest.fail) == {
        "kind": "log",
        "step": 1,
        "loss": None,
        "gradient_norm": None,
        "not_finite": {"loss": "nan", "gradient_norm": "inf"},
    }
    assert as_table([json.loads(line)]).splitlines()[1] == "log,1,nan,inf"


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text('{"kind": "log", "step": 1}\n{"ki\n{"kind": "log", "step": 2}\n')
    with pytest.raises(StepbusError, match=r"history\.jsonl:2: expected a JSON object"):
        read_records(path)


def test_the_table_has_every_column_and_the_clock_last(tmp_path: Path) -> None:
    fit = Fit(tmp_path)
    fit.train(4)
    fit.end()
    with (tmp_path / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "kind", "step", "epoch", "loss", "set", "reason", "eval_loss", "status", "sequences_per_second", "eval_seconds"
    ]  # fmt: skip
    assert [row["step"] for row in rows] == ["2", "4", "4", "4"]
    assert rows[0]["eval_loss"] == ""


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(lambda name: name != "not_finite")
values = st.one_of(st.integers(-(2**53), 2**53), st.floats(), st.text(st.characters(codec="utf-8"), max_size=20))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.dictionaries(names, values, max_size=6), max_size=5), st.data())
def test_any_record_survives_and_any_cut_tears_one_line_at_most(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("history") / "history.jsonl"
    content = "".join(as_line(record) for record in records).encode()
    path.write_bytes(content)
    assert len(read_records(path)) == len(records)
    cut = data.draw(st.integers(0, len(content)))
    path.write_bytes(content[:cut])
    assert len(read_records(path)) == content[:cut].count(b"\n")


# --- after a power loss, and on a disk that refuses -------------------------------------------------------------------


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize(
    ("damage", "kept", "lost"),
    [
        (lambda lines: b"".join(lines), [0, 1, 2, 3, 4, 5], 0),  # more lines than were counted
        (lambda lines: b"".join(lines[:6]), [0, 1, 2, 3, 4, 5], 0),
        (lambda lines: b"".join(lines[:6]).rstrip(), [0, 1, 2, 3, 4, 5], 0),  # the last newline alone is missing
        (lambda lines: b"".join(lines[:4]), [0, 1, 2, 3], 2),
        (lambda lines: b"".join(lines[:4]) + lines[4][:9], [0, 1, 2, 3], 2),  # torn
        (lambda lines: b"".join(lines[:4]) + b"\0" * 300, [0, 1, 2, 3], 2),  # zero-filled
        (lambda lines: b"".join(lines[:4]) + b"\0" * 30 + b"\n" + b"".join(lines[5:]), [0, 1, 2, 3, 5], 1),
        (lambda lines: lines[0] + b'{"ki\n' + b"".join(lines[2:]), [0, 2, 3, 4, 5], 1),
        (lambda lines: lines[0] + b"[1]\n" + b"".join(lines[2:]), [0, 2, 3, 4, 5], 1),
        (lambda lines: lines[0] + b'{"timing": 3}\n' + b"".join(lines[2:]), [0, 2, 3, 4, 5], 1),
        (lambda lines: lines[0] + b"\xff\xfe\n" + b"".join(lines[2:]), [0, 2, 3, 4, 5], 1),
        (lambda lines: lines[0] + b"[" * 100_000 + b"\n" + b"".join(lines[2:]), [0, 2, 3, 4, 5], 1),
        (lambda lines: b"\0" * 4096, [], 6),
        (lambda lines: b"", [], 6),
        (lambda lines: None, [], 6),  # the file is gone
    ],
)
def test_a_resume_keeps_exactly_what_the_checkpoint_counted_and_says_what_is_lost(
    damage: Any, kept: list[int], lost: int, tmp_path: Path
) -> None:
    first = Fit(tmp_path)
    first.train(8)
    saved = first.plugin.state_dict()
    assert saved == {"written": 6}
    first.train(15)
    path = tmp_path / "history.jsonl"
    lines = lines_of(path)
    path.unlink()
    if (content := damage(lines)) is not None:
        path.write_bytes(content)
    second = Fit(tmp_path, step=8, saved=saved)
    assert lines_of(path) == [lines[number] for number in kept] if path.exists() else not kept
    lacks = f"{lost} {'is' if lost == 1 else 'are'} missing or damaged"
    sentence = f"{path}: of the 6 lines up to step 8, {lacks}; the history goes on without them"
    assert second.said == ([(sentence, "warning")] if lost else [])
    # From here on it counts what is there: the next resume keeps it all and says nothing.
    second.train(12)
    again = second.plugin.state_dict()
    content = path.read_bytes()
    third = Fit(tmp_path, step=12, saved=again)
    assert (path.read_bytes(), third.said) == (content, [])
    third.train(16)
    third.end()
    assert (tmp_path / "history.csv").exists()


def test_without_a_count_the_step_decides_and_damage_is_said(tmp_path: Path) -> None:
    first = Fit(tmp_path)
    first.train(8)
    path = tmp_path / "history.jsonl"
    lines = lines_of(path)
    path.write_bytes(lines[0] + b"\0\0\n" + b"".join(lines[2:]))
    second = Fit(tmp_path, step=4)
    assert lines_of(path) == [lines[0], lines[2]]
    assert second.said == [
        (f"{path}: of the 3 lines up to step 4, 1 is missing or damaged; the history goes on without them", "warning")
    ]


def test_damage_during_the_fit_costs_the_table_a_row_and_nothing_else(tmp_path: Path) -> None:
    fit = Fit(tmp_path)
    fit.train(4)
    path = tmp_path / "history.jsonl"
    lines = lines_of(path)
    path.write_bytes(lines[0] + b"{broken\n" + lines[2])
    fit.end()
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 1 + 3
    assert fit.said == [(f"{path}: damaged in line 2; history.csv goes without", "warning")]


def test_a_fit_that_failed_before_it_began_leaves_no_history(tmp_path: Path) -> None:
    fit = Fit(tmp_path)
    fit.end("failed")
    assert list(tmp_path.iterdir()) == []
    assert fit.artifacts == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_write_that_fails_names_the_file_and_leaves_no_half_line(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = Fit(tmp_path)
    fit.train(4)
    path = tmp_path / "history.jsonl"
    before = path.read_bytes()
    original = Path.open

    class Full:
        """A file that takes half of what it is given, and then nothing."""

        def __init__(self, file: Any) -> None:
            self.file, self.left = file, 5

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def write(self, data: bytes) -> int:
            if not self.left:
                raise OSError(number, "the disk refuses")
            taken, self.left = self.left, 0
            return int(self.file.write(data[:taken]))

    monkeypatch.setattr(Path, "open", lambda path, *args, **more: Full(original(path, *args, **more)))
    with pytest.raises(OSError, match="the disk refuses") as caught:
        fit.train(6)
    assert (caught.value.errno, caught.value.filename) == (number, str(path))
    assert fit.plugin.written == 3
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert None not in salvage(path)
