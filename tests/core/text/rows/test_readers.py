"""Which reader a source is for, and what it returns looked at where it comes in."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from attrs import define

from stepbus import Component, ConfigError, DataError, PluginError, Rows, Source, Table, load_config, setting
from stepbus.text.rows.readers import readers_in_use
from stepbus.text.rows.table import read_rows


@define(frozen=True, kw_only=True)
class Settings:
    """Settings of a reader of one's own."""

    times: int = setting(1, "how often each row is given")


def plugin(read: Callable[[Any, Source], Any], build: Any = None, **facts: Any) -> type:
    """Return a plugin with a reader of `mine:` and .mine."""

    class Reader:
        def __init__(self, config: Settings) -> None:
            self.config = config

    Reader.read = read  # type: ignore[attr-defined]
    facts = {"schemes": ("mine",), "suffixes": (".mine",), **facts}

    class Mine:
        components: ClassVar = [Component("reader", "mine", Settings, build or Reader, facts)]

    return Mine


def read(source: Any, *plugins: Any, name: str = "train", **data: Any) -> Rows:
    return read_rows(source, name=name, config=load_config({"data": data}, extra_plugins=plugins).data.settings)


ROWS = [{"text": "a", "n": 1}, {"text": "b", "n": None}]


def generated(_: Any, source: Source) -> Iterator[dict[str, Any]]:
    yield from ROWS


@pytest.mark.parametrize(
    "given",
    [
        generated,
        lambda _, source: ROWS,
        lambda _, source: pd.DataFrame(ROWS),
        lambda _, source: pa.Table.from_pylist(ROWS),
        lambda _, source: {"text": ["a", "b"], "n": [1, None]},
        lambda _, source: Table(ROWS, [2, 5]),
    ],
)
def test_a_reader_gives_whatever_rows_may_be(given: Any) -> None:
    rows = read("mine:a place#x", plugin(given))
    assert (rows.cells("text"), rows.cells("n")) == (["a", "b"], ["1", None])
    assert rows.source == "mine:a place#x"
    assert rows.where(1) == ("mine:a place#x:5" if rows.in_lines else "mine:a place#x, row 2")


def test_a_reader_is_given_its_settings_and_the_source(tmp_path: Path) -> None:
    seen: list[Source] = []

    def given(reader: Any, source: Source) -> Any:
        seen.append(source)
        return {"text": [source.text()] * reader.config.times}

    (tmp_path / "some.mine").write_bytes("caf\xe9".encode("latin-1"))
    mine = plugin(given, file=True, packed=True)
    data = {"encoding": "latin-1", "separator": "tab", "readers": {"mine": {"times": 3}}}
    assert read(tmp_path / "some.mine", mine, **data).cells("text") == ["café"] * 3
    assert read(f"mine:{tmp_path}/some.mine?x#y", mine, **data).cells("text") == ["café"] * 3
    by_suffix, by_scheme = seen
    assert (by_suffix.suffix, by_suffix.rest, by_suffix.path) == (".mine", "", tmp_path / "some.mine")
    assert (by_scheme.suffix, by_scheme.rest, by_scheme.path) == ("", "?x#y", tmp_path / "some.mine")
    assert (by_scheme.encoding, by_scheme.separator, str(by_scheme)) == (
        "latin-1",
        "\t",
        f"mine:{tmp_path}/some.mine?x#y",
    )
    with pytest.raises(
        ConfigError, match=r"data.readers.mine.time: expected a known setting, got 'time' \(did you mean"
    ):
        read("mine:x", mine, readers={"mine": {"time": 3}})


def raising(error: BaseException) -> Callable[[Any, Source], Any]:
    def given(_: Any, source: Source) -> Any:
        raise error

    return given


def late(_: Any, source: Source) -> Iterator[dict[str, Any]]:
    yield ROWS[0]
    raise KeyError("n")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda _, source: None, "reading mine:x: expected rows, got None; return them, such as a frame"),
        (lambda _, source: 3, r"reading mine:x: expected a frame, a list of dictionaries, .*, got the int 3"),
        (lambda _, source: ["a"], "reading mine:x, row 1: expected a dictionary of columns, got a str"),
        (lambda _, source: "a,b", "reading mine:x: expected a frame, .* got a str"),
        (lambda _, source: pd.DataFrame([[1, 2]]), "reading mine:x: expected text as the names of columns, got 0"),
        (
            lambda _, source: Table(ROWS, [1]),
            "expected the line of each of 2 rows, whole numbers from 1 that rise, got 1 of them",
        ),
        (lambda _, source: Table(ROWS, [2, 2]), "the line of each of 2 rows, .*, got 2 for row 2 after 2"),
        (lambda _, source: Table(ROWS, np.array([3, 1], np.uint64)), ", got 1 for row 2 after 3"),
        (lambda _, source: Table(ROWS, [0, 1]), ", got 0 for row 1"),
        (lambda _, source: Table(ROWS, [1, 2.5]), ", got 1.0 among them"),
        (lambda _, source: Table(ROWS, [1, None]), ", got None among them"),
        (lambda _, source: Table(ROWS, [[1], [2, 3]]), ", got a list among them"),
        (lambda _, source: Table(ROWS, [[1], [2]]), r", got an array of shape \[2, 1\]"),
        (lambda _, source: Table(ROWS, 1), ", got 1"),
        (lambda _, source: Table(ROWS, ["a", "b"]), ", got 'a' among them"),
        (lambda _, source: Table(None), "expected rows, got None"),
        (raising(KeyError("n")), "reading mine:x raised KeyError: 'n'"),
        (raising(OSError("no such host")), "reading mine:x raised OSError: no such host"),
        (raising(SystemExit(3)), "reading mine:x raised SystemExit: 3"),
        (late, "reading mine:x raised KeyError: 'n'"),
    ],
)
def test_what_are_no_rows_names_the_plugin(given: Any, message: str) -> None:
    with pytest.raises(PluginError, match=message) as caught:
        read("mine:x", plugin(given))
    assert str(caught.value).startswith("the reader 'mine': ")
    assert str(caught.value).endswith("(Mine (passed in Python))")
    assert "\n" not in str(caught.value)


def test_what_a_reader_cannot_be_built_as_names_the_plugin() -> None:
    for build, message in (
        (
            lambda config: object(),
            r"the reader 'mine': expected its build to return an object with read\(source\), got",
        ),
        (lambda config: None, "the reader 'mine' cannot be built: its build returned None"),
        (lambda config: 1 / 0, "the reader 'mine' cannot be built: ZeroDivisionError"),
    ):
        with pytest.raises(PluginError, match=message) as caught:
            read("mine:x", plugin(generated, build))
        assert "(Mine (passed in Python))" in str(caught.value)


def test_what_is_wrong_with_the_rows_names_their_source() -> None:
    for given, message in (
        (lambda _, source: [], "mine:x: expected at least one row, got none"),
        (
            lambda _, source: pd.DataFrame([[1, 2]], columns=["a", "a"]),
            "mine:x: expected each column's name once, got 'a'",
        ),
        (raising(DataError("mine:x: expected a sunny day, got rain")), "mine:x: expected a sunny day, got rain$"),
    ):
        with pytest.raises(DataError, match=message):
            read("mine:x", plugin(given))


def test_an_interrupt_is_no_fault_of_a_reader() -> None:
    with pytest.raises(KeyboardInterrupt):
        read("mine:x", plugin(raising(KeyboardInterrupt())))


def test_the_longest_ending_counts_and_packed_files_are_for_who_reads_them(tmp_path: Path) -> None:
    long = plugin(lambda _, source: {"text": [source.suffix]}, schemes=(), suffixes=(".csv.mine", ".xyz"))
    for name in ("a.csv.mine", "A.CSV.MINE", "b.xyz"):
        (tmp_path / name).write_text("x")
    assert read(tmp_path / "A.CSV.MINE", long).cells("text") == [".csv.mine"]
    (tmp_path / "b.xyz.gz").write_text("x")
    with pytest.raises(
        DataError, match=r"b.xyz.gz: expected a file ending in .*\.csv.mine, \.xyz, or .*, got '.gz'; unpack"
    ):
        read(tmp_path / "b.xyz.gz", long)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "sqlit:x.db",
            r"expected a file, or one of the schemes sqlite: and sklearn:, got 'sqlit:' \(did you mean 'sqlite'\?",
        ),
        (
            "postgres://host/db",
            r"got 'postgres:'; a plugin that reads it is named under plugins: \(`stepbus plugins list`",
        ),
        ("https://x.y/train.csv", "expected a file, got nothing; fetch it first, and name the file"),
        ("s3://bucket/train.csv", "expected a file, got nothing; fetch it first, and name the file"),
        (
            "some.db#t",
            "some.db#t: expected a file, got nothing; a part of one is named with its scheme: sqlite:some.db#t$",
        ),
        ("some.csv#t", "expected a file, got nothing$"),
        ("sklearn:", "sklearn:: expected one of breast_cancer, .*, got ''"),
    ],
)
def test_an_unknown_scheme_is_named(source: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(source)
    assert str(caught.value).startswith(f"{source}: ")


def test_a_file_may_be_called_like_a_scheme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("fold:1.csv").write_text("text\na\n")
    assert read("fold:1.csv").cells("text") == ["a"]


def test_without_readers_nothing_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text\na\n")
    settings = load_config({"plugins": {"readers": False}}).data.settings
    with pytest.raises(DataError, match="expected a plugin that reads files, and none is switched on"):
        read_rows(tmp_path / "a.csv", name="train", config=settings)
    assert len(read_rows([{"text": "a"}], name="train", config=settings)) == 1


def test_a_second_reader_of_an_ending_names_both() -> None:
    with pytest.raises(
        ConfigError, match=r"two plugins read files ending in .csv: readers, stepbus 0.1.0 and Mine \(pas"
    ):
        load_config({}, extra_plugins=[plugin(generated, suffixes=(".csv",))])
    alone = plugin(lambda _, source: {"text": ["mine"]}, suffixes=(".csv",))
    settings = load_config({"plugins": {"readers": False}}, extra_plugins=[alone]).data.settings
    assert list(settings.readers) == ["mine"]


def test_a_password_is_in_no_message_and_in_no_settings(caplog: pytest.LogCaptureFixture) -> None:
    secret = "mine://ann:s3cret@host/db?token=abc#t"

    def given(_: Any, source: Source) -> Any:
        assert source.given == secret
        source.say(f"opened {source}")
        return ROWS

    with caplog.at_level(logging.WARNING):
        rows = read(secret, plugin(given))
    assert rows.where(0) == "mine://***@host/db?token=***#t, row 1"
    assert "s3cret" not in str(rows.error(0, "n", "expected x")) and "s3cret" not in caplog.text
    with pytest.raises(PluginError) as caught:
        read(secret, plugin(raising(OSError(f"cannot connect to {secret}"))))
    assert "s3cret" not in str(caught.value) and "mine://***@host" in str(caught.value)
    config = load_config({"data": {"train": secret}}, extra_plugins=[plugin(given)])
    assert config.data.settings.train == secret
    assert config.resolved()["data"]["train"] == "mine://***@host/db?token=***#t"
    other = load_config({"data": {"train": secret.replace("s3cret", "other")}}, extra_plugins=[plugin(given)])
    assert config.digest() == other.digest()
    with pytest.raises(DataError) as unknown:
        read(secret)
    assert "s3cret" not in str(unknown.value)


def test_the_readers_in_use_are_those_of_the_sources(tmp_path: Path) -> None:
    (tmp_path / "dev.jsonl").write_text("{}\n")
    data = {"train": "sklearn:iris", "validation": str(tmp_path / "dev.jsonl"), "test": str(tmp_path / "nowhere.csv")}
    config = load_config({"data": data})
    assert [reader.name for reader in readers_in_use(config.data.settings)] == ["sklearn", "jsonl"]


def test_no_library_is_imported_for_a_reader_that_is_not_used() -> None:
    import subprocess

    heavy = "{'sqlite3', 'pyarrow', 'sklearn', 'pandas'}"
    code = f"import sys; from stepbus import load_config; load_config({{}}); print(*{heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
