"""costs: the table at the end of a run, its sentences, and when it is shown."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stepbus import Trainer, hookimpl, load_config
from stepbus.base.errors import Interrupted
from stepbus.kernel.measuring import Cost
from stepbus.testing import Recorder, play
from stepbus_plugins.costs import Costs, report

TITLE, PARTS = "time in plugins' hooks", "where the time of the training went"


def test_the_table_and_the_sentences_of_known_counts() -> None:
    said: list[Any] = []
    run = SimpleNamespace(
        seconds=100.0,
        resumed=False,
        costs={
            "cheap": Cost(0.5, 1, ()),
            "slow": Cost(3.0, 1234, ()),
            "idle": Cost(0.0, 0, ()),
            "broken": Cost(0.001, 2, ("broken: on_log raised ValueError", "broken: on_log raised KeyError")),
        },
        report=lambda *table: said.append(table),
        message=lambda text, level="info": said.append((level, text)),
    )
    trained: list[Any] = [
        SimpleNamespace(seconds=60.0, times={"updates": 50.0, "data": 3.0, "hooks": 4.0, "rest": 3.0}),
        SimpleNamespace(seconds=20.0, times={"updates": 10.0, "evaluations": 6.0, "checkpoints": 4.0}),
    ]
    report(run, trained)  # type: ignore[arg-type]  # as much of a run as it reads
    assert said == [
        (
            PARTS,
            ["at", "time", "of the training"],
            [
                ["updates", "60.00 s", "75.0%"],
                ["waiting for data", "3.00 s", "3.8%"],
                ["evaluations", "6.00 s", "7.5%"],
                ["waiting for checkpoints", "4.00 s", "5.0%"],
                ["plugins' hooks", "4.00 s", "5.0%"],
                ["the rest", "3.00 s", "3.8%"],
            ],
        ),
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
    run = SimpleNamespace(
        seconds=0.2, resumed=False, costs=costs, report=lambda *_: None, message=lambda text: said.append(text)
    )
    report(run, [])  # type: ignore[arg-type]  # as much of a run as it reads
    assert said == ["slow spent 0.15 s, 75.0% of the run, in its hooks"]


class Counted:
    """Heard at each step."""

    @hookimpl
    def on_step_end(self) -> None: ...


def test_a_run_tells_them_once_before_it_ends() -> None:
    played = play(Counted, Costs, epochs=1, steps_per_epoch=3)
    (parts, (title, columns, rows)) = played.reports
    assert [row[0] for row in parts[2]][:2] == ["updates", "waiting for data"]
    assert (title, columns) == (TITLE, ["plugin", "calls", "time", "of the run"])
    assert [row[:2] for row in rows if row[0] == "counted"] == [["counted", "3"]]
    assert [row[:2] for row in rows if row[0] == "costs"] == [["costs", "1"]], "its present call has not ended yet"
    # A run of milliseconds may well be worth a word on who took one of them.
    assert [name for name in played.names if name != "on_message"][-2:] == ["on_report", "on_close"]


def test_a_run_that_was_cut_tells_them_before_it_is_closed() -> None:
    played = play(Counted, Costs, epochs=1, steps_per_epoch=3, interrupt_at=2)
    assert (played.status, [title for title, *_ in played.reports]) == ("interrupted", [PARTS, TITLE])


def trained_again(tree: dict[str, Any], **options: Any) -> tuple[list[str], list[list[str]], Any]:
    """Return the titles of the tables that a run shows, the rows of the first one, and its result."""
    heard = Recorder()
    result = Trainer(load_config(tree), plugins=[heard]).train(**options, allow_changed="resume" in options)
    tables = [given for given in heard.of("on_report") if "time" in given["title"]]
    return [given["title"] for given in tables], [list(row) for row in tables[0]["rows"]], result


def test_a_finished_run_that_is_resumed_tells_no_training(tiny_config: Any) -> None:
    """It told the time table of the earlier process as its own."""
    tree = tiny_config(training={"max_steps": 2})
    assert trained_again(tree)[0] == [PARTS, TITLE]
    assert trained_again(tree, resume=True)[0] == [f"{TITLE} since it was resumed"]


def test_a_resumed_run_tells_of_the_fits_that_it_trained_itself(tiny_config: Any) -> None:
    class Falls:
        affects_result = False

        @hookimpl
        def on_epoch_start(self, trainer: Any) -> None:
            if trainer.fit_name == "fold-2":
                raise KeyboardInterrupt

    tree = tiny_config(
        plugins={"progress": False, "cross_validation": {"folds": 2}},
        data={"validation": None},
        training={"max_steps": 3},
    )
    with pytest.raises(KeyboardInterrupt):
        Trainer(load_config(tree), plugins=[Falls()]).train()
    titles, rows, result = trained_again(tree, resume=True)
    assert titles == [f"{PARTS} since it was resumed", f"{TITLE} since it was resumed"]
    first, second = result.parts
    told = sum(float(row[1].removesuffix(" s")) for row in rows)
    assert told == pytest.approx(second.seconds, abs=0.04)
    assert first.seconds > 0.1 and sum(first.times.values()) == pytest.approx(first.seconds)
    assert result.seconds == first.seconds + second.seconds  # both were nothing
    assert result.times == {name: first.times[name] + second.times[name] for name in first.times}


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
