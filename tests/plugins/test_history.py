"""history: strict JSON, the cut on resume, torn lines, the table."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepbus import Control, StepbusError, TrainingState
from stepbus_plugins.history import History, as_line, as_table, read_records


class Fit:
    """A fit of `steps` updates that logs every second step and evaluates every fourth."""

    def __init__(self, folder: Path, *, step: int = 0, saved: dict[str, Any] | None = None) -> None:
        self.plugin = History(History.Config())
        self.artifacts: list[tuple[str, Path]] = []
        run = SimpleNamespace(artifact=lambda kind, path: self.artifacts.append((kind, path)))
        self.trainer = SimpleNamespace(directory=folder, run=run, control=Control(asking="early_stopping"))
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
        self.plugin.on_fit_end(self.trainer, self.state, SimpleNamespace(status=status))


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
