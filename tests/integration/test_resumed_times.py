"""The times of a fit that was resumed: those of one process, and wherever they stand it says since when."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stepbus import create_trainer


def test_seconds_say_what_they_are_of(tiny_config: Any) -> None:
    """Steps were those of all sessions, and seconds those of the last one, without a word."""

    def trained(epochs: int, **options: Any) -> Any:
        return create_trainer(config=tiny_config(training={"num_epochs": epochs})).train(**options)

    first = trained(1)
    end = [json.loads(line) for line in (first.directory / "fits/fit/history.jsonl").read_text().splitlines()][-1]
    assert first.resumed_at == 0 and "11 in " in str(first) and "the resume" not in str(first)
    assert "seconds_since_step" not in end["timing"]
    result = trained(2, resume=True, allow_changed=True)
    assert (result.steps, result.resumed_at) == (22, 11)
    assert "22, 11 of them in " in str(result) and "since the resume at step 11" in str(result)
    end = [json.loads(line) for line in (result.directory / "fits/fit/history.jsonl").read_text().splitlines()][-1]
    assert end["timing"]["seconds_since_step"] == 11
    (kept,) = Path(result.directory).rglob("result.json")
    assert json.loads(kept.read_text())["resumed_at"] == 11
    again = trained(2, resume=True)  # which finds it done
    assert (again.resumed_at, again.seconds, again.times) == (11, result.seconds, result.times)
