"""Code that takes part in predictions and is changed after the run: what it says now is announced as other."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from stepbus import create_trainer, open_run, open_trainer
from stepbus.cli.main import main

SOURCE = """
from attrs import define, evolve
from stepbus import Axis, Component, Table, grow, hookimpl, mean_predictions, setting

class Pair:
    "Two members of other seeds."
    scope = "run"
    grows = (Axis("member"),)

    @hookimpl
    def expand_fits(self, fits):
        return grow(fits, lambda fit: [evolve(fit, name=f"m-{n}", seed=n, scope={"member": n}) for n in (1, 2)])

    @hookimpl
    def combine_results(self, results):
        return results[0]

    @hookimpl
    def combine_predictions(self, predictions):
        return mean_predictions(predictions)


class Lowers:
    "Write rows in small letters."

    @hookimpl
    def prepare_data(self, sets):
        return {name: evolve(rows, frame=rows.frame.assign(text=rows.frame["text"].str.lower()))
                for name, rows in sets.items()}


@define(frozen=True, kw_only=True)
class Settings:
    mark: str = setting("|", "what stands between the fields")

class Own:
    def __init__(self, settings):
        self.mark = settings.mark

    def read(self, source):
        names, *rows = [line.split(self.mark) for line in source.text().splitlines()]
        return Table([dict(zip(names, row)) for row in rows], range(2, len(rows) + 2))

class Reads:
    "Read rows of a kind of its own."
    components = (Component("reader", "own", Settings, Own, {"suffixes": (".own",), "schemes": (), "file": True}),)
"""
SAID = "is other than when this was trained, so what it predicts now may be other as well"
Make = Callable[..., dict[str, Any]]


def forget(name: str = "stepbus_local_mine") -> None:
    for module in [known for known in sys.modules if known.startswith(name)]:
        del sys.modules[module]


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Path]:
    """A file of plugins, which this process knows only as long as the test runs."""
    file = tmp_path / "mine.py"
    file.write_text(SOURCE)
    yield file
    forget()


@pytest.mark.parametrize("name", ["Pair", "Lowers"])
def test_other_code_of_who_takes_part_is_said_once(
    name: str, tiny_config: Make, source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tree = tiny_config(training={"num_epochs": 1})
    rows = tree["data"]["validation"]
    plugin = name.lower()
    tree["plugins"][plugin] = {"use": f"{source}:{name}"}
    run = create_trainer(config=tree).train().directory
    open_run(run, trust=True).predict(rows)
    assert SAID not in caplog.text, "nothing has changed"
    source.write_text(SOURCE + "\n# another line\n")
    forget()
    for call in (
        lambda: open_run(run, trust=True).predict(rows),
        lambda: main(["predict", str(run), rows, "--trust", "--output", str(tmp_path / "out.csv")]),
        lambda: main(["evaluate", str(run), rows, "--trust"]),
    ):
        caplog.clear()
        call()
        assert [text for text in caplog.messages if f"the code of the plugin {plugin} {SAID}" in text] == [
            text for text in caplog.messages if SAID in text
        ]
        assert caplog.text.count(SAID) == 1
    source.write_text(SOURCE)
    forget()
    caplog.clear()
    open_run(run, trust=True).predict(rows)
    assert SAID not in caplog.text


def test_other_code_of_a_reader_is_said(
    tiny_config: Make, source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tree = tiny_config(training={"num_epochs": 1})
    train = tmp_path / "rows.own"
    frame = pd.read_csv(tree["data"]["train"])
    train.write_text("\n".join(["text|label", *(f"{text}|{label}" for text, label in frame[["text", "label"]].values)]))
    tree["data"]["train"] = str(train)
    tree["plugins"]["reads"] = {"use": f"{source}:Reads"}
    run = create_trainer(config=tree).train().directory
    source.write_text(SOURCE.replace("names, *rows", "names, _, *rows"))
    forget()
    open_trainer(run, trust=True)
    assert f"the code of the plugin reads {SAID}" in caplog.text
    caplog.clear()
    open_trainer(run)  # which does without it, and imports nothing
    assert SAID not in caplog.text
