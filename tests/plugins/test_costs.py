"""costs: the table at the end of a run, its sentences, and when it is shown."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stepbus import Trainer, hookimpl, load_config
from stepbus.base.errors import Interrupted
from stepbus.kernel.costs import Cost
from stepbus.testing import Recorder, play
from stepbus_plugins.costs import Costs, report

TITLE = "time in plugins' hooks"


def test_the_table_and_the_sentences_of_known_counts() -> None:
    said: list[Any] = []
    run = SimpleNamespace(
        seconds=100.0,
        costs={
            "cheap": Cost(0.5, 1, ()),
            "slow": Cost(3.0, 1234, ()),
            "idle": Cost(0.0, 0, ()),
            "broken": Cost(0.001, 2, ("broken: on_log raised ValueError", "broken: on_log raised KeyError")),
        },
        report=lambda *table: said.append(table),
        message=lambda text, level="info": said.append((level, text)),
    )
    report(run)  # type: ignore[arg-type]  # as much of a run as it reads
    assert said == [
        (
            TITLE,
            ["plugin", "calls", "time", "of the run"],
            [
                ["slow", "1,234", "3,000.0 ms", "3.00%"],
                ["cheap", "1", "500.0 ms", "0.50%"],
                ["broken", "2", "1.0 ms", "0.00%"],
            ],
        ),
        ("info", "slow spent 3.00 s, 3.0% of the run, in its hooks"),
        ("warning", "switched off by an error: broken: on_log raised ValueError"),
        ("warning", "switched off by an error: broken: on_log raised KeyError"),
    ]


def test_a_large_share_of_no_time_is_worth_no_word() -> None:
    """A run of milliseconds said something else each time, of the kit's own recorder."""
    said: list[str] = []
    costs = {"quick": Cost(0.05, 3, ()), "slow": Cost(0.15, 3, ())}
    run = SimpleNamespace(seconds=0.2, costs=costs, report=lambda *_: None, message=lambda text: said.append(text))
    report(run)  # type: ignore[arg-type]  # as much of a run as it reads
    assert said == ["slow spent 0.15 s, 75.0% of the run, in its hooks"]


class Counted:
    """Heard at each step."""

    @hookimpl
    def on_step_end(self) -> None: ...


def test_a_run_tells_them_once_before_it_ends() -> None:
    played = play(Counted, Costs, epochs=1, steps_per_epoch=3)
    ((title, columns, rows),) = played.reports
    assert (title, columns) == (TITLE, ["plugin", "calls", "time", "of the run"])
    assert [row[:2] for row in rows if row[0] == "counted"] == [["counted", "3"]]
    assert "costs" not in [row[0] for row in rows], "its own call has not ended yet"
    # A run of milliseconds may well be worth a word on who took one of them.
    assert [name for name in played.names if name != "on_message"][-2:] == ["on_report", "on_close"]


def test_a_run_that_was_cut_tells_them_before_it_is_closed() -> None:
    played = play(Counted, Costs, epochs=1, steps_per_epoch=3, interrupt_at=2)
    assert (played.status, [title for title, *_ in played.reports]) == ("interrupted", [TITLE])


def test_a_run_that_failed_does_not() -> None:
    class Fails:
        @hookimpl
        def on_step_end(self) -> None:
            raise ZeroDivisionError("of the sample")

    heard = Recorder()
    with pytest.raises(Exception, match="of the sample"):
        play(Costs, Fails, heard)
    assert "on_exception" in heard.names
    assert "on_report" not in heard.names


def test_without_it_nothing_is_told_and_everything_is_counted(tiny_config: Any) -> None:
    heard = Recorder()
    trainer = Trainer(load_config(tiny_config(plugins={"costs": False}, training={"max_steps": 2})), plugins=[heard])
    trainer.train()
    (run,) = [given["run"] for given in heard.of("on_close")]
    assert TITLE not in [given["title"] for given in heard.of("on_report")]
    assert run.costs["recorder"].calls > 10
    assert 0 < run.costs["recorder"].seconds < run.seconds


def test_a_disabled_plugin_is_told_again_at_the_end(tmp_path: Path, tiny_config: Any) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from stepbus import hookimpl\n\n\nclass Broken:\n    @hookimpl\n    def on_log(self):\n"
        "        raise ValueError('of the sample')\n"
    )
    heard = Recorder()
    config = tiny_config(plugins={"mine": {"use": f"{file}:Broken", "on_error": "disable"}})
    Trainer(load_config(config), plugins=[heard]).train()
    texts = [given["text"] for given in heard.of("on_message")]
    (first,) = [text for text in texts if text.startswith("mine, mine.py: on_log raised ValueError at step 3")]
    assert texts.count(f"switched off by an error: {first}") == 1
    assert texts.index(first) < texts.index(f"switched off by an error: {first}")


def test_a_signal_between_fits_tells_no_costs(tiny_config: Any) -> None:
    heard = Recorder()

    class Signals:
        scope = "run"

        @hookimpl
        def on_fit_end(self, trainer: Any) -> None:
            trainer.run.signal = signal.SIGINT

    with pytest.raises(Interrupted):
        Trainer(load_config(tiny_config(training={"max_steps": 2})), plugins=[heard, Signals()]).train()
    assert TITLE not in [given["title"] for given in heard.of("on_report")]
