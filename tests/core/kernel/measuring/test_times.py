"""Where the time of a fit goes: told apart, each second once."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from stepbus import hookimpl
from stepbus.kernel.measuring import Meter, Times, times
from stepbus.testing import Recorder, play

NAMES = ["updates", "data", "checkpoints", "evaluations", "hooks"]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A clock that only goes on when a test says so."""
    now = SimpleNamespace(at=100.0)
    monkeypatch.setattr(times, "time", SimpleNamespace(perf_counter=lambda: now.at))
    return now


def test_each_second_counts_once(clock: Any) -> None:
    meter = Meter()
    meter.inner = 7.0  # of a fit before
    spent = Times(meter)
    with spent.updates:
        clock.at += 2
    with spent.evaluations:
        clock.at += 3
        meter.inner += 1  # a hook called from there
        with spent.data:
            clock.at += 4
            meter.inner += 0.5
    meter.inner += 10
    assert spent.whole() == {"updates": 2, "data": 3.5, "checkpoints": 0, "evaluations": 2, "hooks": 11.5}
    assert spent.of_loop(20)["rest"] == 1


def test_an_interval_has_what_came_since_the_one_before(clock: Any) -> None:
    spent = Times(Meter())
    for seconds in (2, 5):
        with spent.checkpoints:
            clock.at += seconds
        with spent.data:
            clock.at += 1
        spent.meter.inner += 0.25
        assert spent.of_interval() == {
            "data_wait_seconds": 1,
            "checkpoint_wait_seconds": seconds,
            "evaluation_seconds": 0,
            "hook_seconds": 0.25,
        }


def test_an_error_inside_is_timed_too(clock: Any) -> None:
    spent = Times(Meter())
    with pytest.raises(ValueError, match="of the sample"), spent.data:
        clock.at += 2
        raise ValueError("of the sample")
    assert spent.whole()["data"] == 2


class Sleeps:
    """Take ten milliseconds after each update."""

    @hookimpl
    def on_step_end(self) -> None:
        time.sleep(0.01)


def test_a_fit_tells_what_its_loop_was_at() -> None:
    heard = Recorder()
    played = play(Sleeps, heard, epochs=2, steps_per_epoch=3)
    (result,) = [given["result"] for given in heard.of("on_fit_end")]
    assert list(result.times) == [*NAMES, "rest"]
    assert sum(result.times.values()) == pytest.approx(result.seconds)
    assert result.times["hooks"] >= 0.06  # six times ten milliseconds: sleep never takes less
    assert min(result.times[name] for name in NAMES) >= 0
    records = [given["record"] for given in heard.of("on_log")]
    assert sum(record["hook_seconds"] for record in records) >= 0.05  # the last record is of before the last hook
    assert played.status == "ok"
