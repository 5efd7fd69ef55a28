"""Rows from SQLite and from a reader of somebody else's, all the way: train, folds, kill, resume, evaluate, predict."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from stepbus import BadInput, CheckpointError, DataError, create_trainer, load_config, open_trainer
from stepbus.cli.main import main
from stepbus.config.discovery import plugins
from stepbus.config.discovery.plugins import import_module

fakes = import_module(str(Path(__file__).parents[1] / "fixtures" / "distributions.py"))
Make = Callable[..., dict[str, Any]]

# A reader of rows with blanks between their fields, in files and behind a scheme.
BLANKS = '''
from attrs import define
from stepbus import Component, Table, setting

@define(frozen=True, kw_only=True)
class BlanksConfig:
    """Settings of `data: {readers: {blanks: …}}`."""
    mark: str = setting("|", "what stands between the fields")

class Blanks:
    def __init__(self, config): self.config = config

    def read(self, source):
        lines = source.text().splitlines()
        names, *rows = [line.split(self.config.mark) for line in lines]
        return Table([dict(zip(names, row)) for row in rows], range(2, len(rows) + 2))

class BlanksReader:
    """Read .blanks files."""
    facts = {"suffixes": (".blanks",), "schemes": ("blanks",), "file": True}
    components = [Component("reader", "blanks", BlanksConfig, Blanks, facts)]
'''
KILLER = """
import os, signal
from stepbus import hookimpl

class Killer:
    affects_result = False

    @hookimpl
    def on_step_end(self, trainer, state):
        if trainer.fit_name == "fold-2" and state.step == 2 and not os.path.exists("sent"):
            open("sent", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
"""


def table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file, with an id, a group and a weight for each."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return [{"key": f"r{n}", **row, "pair": str(n // 2), "counts": str(n % 3 + 1)} for n, row in enumerate(rows)]


@pytest.fixture
def tree(tiny_config: Make, review_files: dict[str, Path], tmp_path: Path) -> dict[str, Any]:
    """A configuration whose rows are CSV files; the same rows stand in reviews.db and in .blanks files."""
    with closing(sqlite3.connect(tmp_path / "reviews.db")) as made:
        for name, path in review_files.items():
            rows = table(path)
            made.execute(f"CREATE TABLE {name} (key TEXT, text TEXT, label INTEGER, pair INTEGER, counts REAL)")
            made.executemany(f"INSERT INTO {name} VALUES (:key, :text, :label, :pair, :counts)", rows)
            with (tmp_path / f"{name}.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
            lines = [";".join(rows[0]), *(";".join(row.values()) for row in rows)]
            (tmp_path / f"{name}.blanks").write_text("\n".join(lines) + "\n")
        made.commit()
    made = tiny_config(data={"id": "key", "group": "pair", "weight": "counts"}, training={"max_steps": 4})
    made["plugins"]["checkpoint"] = {"save_strategy": "steps", "save_steps": 1}
    return made


def written(tree: dict[str, Any], folder: Path, name: str = "run.yaml", **data: Any) -> Path:
    """Write a configuration with other rows."""
    (folder / name).write_text(yaml.safe_dump({**tree, "data": {**tree["data"], **data}}, sort_keys=False))
    return folder / name


def weights(folder: Path) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in load_file(folder / "model" / "model.safetensors").items()}


DATABASE = {"train": "sqlite:reviews.db#train", "validation": "sqlite:reviews.db?query=SELECT * FROM dev"}


def test_rows_of_a_database_train_and_predict_as_those_of_a_file(
    tree: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(written(tree, tmp_path)), "--output", str(tmp_path / "csv")]) == 0
    assert main(["train", str(written(tree, tmp_path, **DATABASE)), "--output", str(tmp_path / "db")]) == 0
    assert weights(tmp_path / "db") == weights(tmp_path / "csv")
    capsys.readouterr()
    scores = {}
    for run, dev in (("csv", tmp_path / "dev.csv"), ("db", f"sqlite:{tmp_path}/reviews.db#dev")):
        assert main(["evaluate", str(tmp_path / run), str(dev), "--json"]) == 0
        scores[run] = json.loads(capsys.readouterr().out)
        assert main(["predict", str(tmp_path / run), str(dev), "--output", str(tmp_path / f"{run}.out.csv")]) == 0
        capsys.readouterr()
    assert scores["db"] == scores["csv"]
    said = (tmp_path / "db.out.csv").read_text()
    assert said == (tmp_path / "csv.out.csv").read_text()
    assert said.startswith("key,label,") and "\nr0," in said
    opened = open_trainer(tmp_path / "db")
    assert opened.evaluate(f"sqlite:{tmp_path}/reviews.db#dev") == scores["db"]
    # A password or a place of a source is in nothing that is sent on.
    assert "reviews.db" not in (tmp_path / "db" / "model" / "stepbus.json").read_text()


def test_a_table_and_a_part_of_the_training_rows_come_from_a_database(tree: dict[str, Any], tmp_path: Path) -> None:
    del tree["data"]["text"]
    found = []
    for name, train in (("csv", str(tmp_path / "train.csv")), ("db", f"sqlite:{tmp_path}/reviews.db#train")):
        data = {"type": "table", "columns": ["text", "counts"], "train": train, "validation": 0.3, "stratify": True}
        trainer = create_trainer(
            config={**tree, "data": {**tree["data"], **data}, "environment": {"output_dir": str(tmp_path / name)}}
        )
        trainer.train()
        found.append(weights(tmp_path / name))
    assert found[0] == found[1]


def test_folds_over_a_database_are_killed_and_resumed_to_the_same_bytes(tree: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "killer.py").write_text(KILLER)
    tree["plugins"] |= {"cross_validation": {"folds": 3, "strategy": "group"}}
    plain = written(tree, tmp_path, "plain.yaml", validation=None)
    assert main(["train", str(plain), "--output", str(tmp_path / "csv")]) == 0
    tree["plugins"]["killer"] = {"use": "./killer.py:Killer"}
    config = written(tree, tmp_path, validation=None, train=DATABASE["train"])
    killed = fakes.stepbus("train", str(config), "--output", "killed", folder=tmp_path)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with closing(sqlite3.connect(tmp_path / "reviews.db")) as made:
        made.execute("UPDATE train SET text = 'another' WHERE key = 'r3'")
        made.commit()
        refused = fakes.stepbus("train", str(config), "--output", "killed", "--resume", folder=tmp_path)
        assert refused.returncode == 2, refused.stderr
        assert "began with other rows" in refused.stderr and "reviews.db#train, row 4 is another" in refused.stderr
        first = table(tmp_path / "train.csv")[3]["text"]
        made.execute("UPDATE train SET text = ? WHERE key = 'r3'", (first,))
        made.commit()
    resumed = fakes.stepbus("train", str(config), "--output", "killed", "--resume", folder=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    for fold in ("fold-1", "fold-2", "fold-3"):
        assert weights(tmp_path / "killed" / "fits" / fold) == weights(tmp_path / "csv" / "fits" / fold)
    assert (tmp_path / "killed" / "out_of_fold.csv").read_bytes() == (tmp_path / "csv" / "out_of_fold.csv").read_bytes()


# -- a reader of somebody else's --------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path in which a package with a reader is installed."""
    folder = tmp_path / "site"
    fakes.install(folder, "blanks-pack", BLANKS, {"blanks": "BlanksReader"})
    monkeypatch.syspath_prepend(str(folder))
    plugins.entries.cache_clear()
    yield folder
    sys.modules.pop("blanks_pack", None)
    plugins.entries.cache_clear()


MARKED = {"readers": {"blanks": {"mark": ";"}}}


def test_a_strangers_reader_reads_for_every_command(
    tree: dict[str, Any], package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(written(tree, tmp_path)), "--output", str(tmp_path / "csv")]) == 0
    tree["plugins"]["blanks"] = {}
    config = written(tree, tmp_path, train="train.blanks", validation="blanks:dev.blanks", **MARKED)
    assert main(["train", str(config), "--output", str(tmp_path / "own")]) == 0
    assert weights(tmp_path / "own") == weights(tmp_path / "csv")
    capsys.readouterr()
    assert main(["train", str(config), "--output", str(tmp_path / "own"), "--resume"]) == 0
    dev, out = f"blanks:{tmp_path}/dev.blanks", tmp_path / "out.jsonl"
    assert main(["predict", str(tmp_path / "own"), dev, "--output", str(out)]) == 0
    assert len(out.read_text().splitlines()) == 20
    opened = open_trainer(tmp_path / "own" / "model")
    assert opened.evaluate(dev) == opened.evaluate(tmp_path / "dev.csv")
    with pytest.raises(DataError, match=r"train.blanks:3: column 'label': expected"):
        (tmp_path / "train.blanks").write_text("key;text;label;counts\nr0;good;1;1\nr1;bad;;1\n")
        opened.evaluate(tmp_path / "train.blanks")


def test_folds_by_a_strangers_reader(tree: dict[str, Any], package: Path, tmp_path: Path) -> None:
    tree["plugins"] |= {"blanks": {}, "cross_validation": {"folds": 2, "strategy": "group"}}
    for name, train in (("csv", "train.csv"), ("own", "train.blanks")):
        config = written(tree, tmp_path, train=train, validation=None, **MARKED)
        assert main(["train", str(config), "--output", str(tmp_path / name)]) == 0
    assert (tmp_path / "own" / "out_of_fold.csv").read_bytes() == (tmp_path / "csv" / "out_of_fold.csv").read_bytes()
    expected = open_trainer(tmp_path / "csv").predict(tmp_path / "dev.csv")
    assert np.array_equal(open_trainer(tmp_path / "own").predict(tmp_path / "dev.blanks"), expected)


def test_a_folder_does_without_a_reader_that_is_not_installed(
    tree: dict[str, Any], package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree["plugins"]["blanks"] = {}
    config = written(tree, tmp_path, train="train.blanks", validation="dev.blanks", **MARKED)
    assert main(["train", str(config), "--output", str(tmp_path / "own")]) == 0
    expected = open_trainer(tmp_path / "own").predict(tmp_path / "dev.blanks")
    shutil.rmtree(package)
    sys.modules.pop("blanks_pack", None)
    plugins.entries.cache_clear()
    capsys.readouterr()
    assert np.array_equal(open_trainer(tmp_path / "own").predict(tmp_path / "dev.csv"), expected)
    assert (
        main(["predict", str(tmp_path / "own"), str(tmp_path / "dev.blanks"), "--output", str(tmp_path / "o.csv")]) == 2
    )
    said = capsys.readouterr().err
    assert "dev.blanks: expected a file ending in .csv, " in said and "`stepbus plugins list`" in said
    assert "\n" not in said.strip()
    with pytest.raises(BadInput, match=r"plugins\.blanks: no installed plugin is called 'blanks'"):
        create_trainer(config=config).train(resume=True)


def test_a_reader_in_a_file_wants_trust(
    tree: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(BLANKS)
    tree["plugins"]["blanks"] = {"use": "./mine.py:BlanksReader"}
    config = written(tree, tmp_path, train="train.blanks", validation="dev.blanks", **MARKED)
    assert main(["train", str(config), "--output", str(tmp_path / "own")]) == 0
    model = tmp_path / "own" / "model"
    saved = json.loads((model / "stepbus.json").read_text())["config"]
    assert saved["readers"]["blanks"]["reads"] == {"blanks": {"mark": ";"}}
    assert "readers" not in saved["data"]
    expected = open_trainer(model).predict(tmp_path / "dev.csv")
    with pytest.raises(DataError, match=r"dev.blanks: expected a file ending in \.csv"):
        open_trainer(model).predict(tmp_path / "dev.blanks")
    shutil.copy(tmp_path / "mine.py", model.resolve() / "mine.py")
    assert np.array_equal(open_trainer(model, trust=True).predict(tmp_path / "dev.blanks"), expected)


def test_a_resume_that_reads_other_rows_is_refused(tree: dict[str, Any], tmp_path: Path) -> None:
    config = {**tree, "data": {**tree["data"], "train": f"sqlite:{tmp_path}/reviews.db#train"}}
    create_trainer(config=config).train()
    shutil.move(tmp_path / "reviews.db", tmp_path / "moved.db")
    moved = f"sqlite:{tmp_path}/moved.db"
    config["data"]["train"] = f"{moved}#train"
    assert create_trainer(config=config).train(resume=True).steps == 4
    config["data"]["train"] = f"{moved}?query=SELECT * FROM train LIMIT 40"
    with pytest.raises(
        CheckpointError,
        match=r"began with other rows[^\n]*\n.*moved\.db\?query=SELECT \* FROM train LIM",
    ):
        create_trainer(config=config).train(resume=True)


def test_what_is_read_is_not_written_over(tree: dict[str, Any], package: Path, tmp_path: Path) -> None:
    shutil.copy(tmp_path / "train.blanks", tmp_path / "rows.csv")
    tree["plugins"]["blanks"] = {}
    config = load_config({**tree, "data": {**tree["data"], **MARKED}})
    trainer = create_trainer(config=config)
    trainer.train()
    from stepbus import write_predictions

    with pytest.raises(BadInput, match=r"rows.csv: expected another file than the rows that were read"):
        write_predictions(trainer, f"blanks:{tmp_path}/rows.csv", tmp_path / "rows.csv")
    assert (tmp_path / "rows.csv").read_text().startswith("key;text")
