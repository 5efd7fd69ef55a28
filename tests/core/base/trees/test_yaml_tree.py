"""YAML as marked trees: what is a number, what is refused, and that what is written reads back."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from stepbus.base.errors import ConfigError
from stepbus.base.trees import yaml_tree
from stepbus.base.trees.python_tree import from_python
from stepbus.base.trees.yaml_tree import MAX_BYTES, MAX_DEPTH, Mark, Node, parse, read_tree, scalar
from stepbus.base.trees.yaml_writer import to_yaml
from stepbus.config.discovery.plugins import import_module

effort: Any = import_module(str(Path(__file__).parents[3] / "fixtures" / "effort.py"))

HERE = Mark("run.yaml", 1)


def plain(text: str) -> Any:
    tree = parse(text, HERE)
    return tree.plain() if tree else None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-5", 2e-5),
        ("1E3", 1000.0),
        ("-1.5e+2", -150.0),
        (".5", 0.5),
        ("1.", 1.0),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("12", 12),
        ("-0", 0),
        ("+7", 7),
        ("010", "010"),
        ("1_000", "1_000"),
        ("0x1F", "0x1F"),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("Off", "Off"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("nil", "nil"),
        ("1e", "1e"),
        ("e5", "e5"),
        (".", "."),
        ("9" * 400, "9" * 400),
    ],
)
def test_a_plain_scalar_means_what_yaml_1_2_says(text: str, value: Any) -> None:
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)
    assert plain(f"key: {text}") == {"key": value}


def test_quoted_scalars_are_text() -> None:
    assert plain("a: '2e-5'\nb: \"true\"\nc: 'null'") == {"a": "2e-5", "b": "true", "c": "null"}


def test_keys_are_text_whatever_they_look_like() -> None:
    assert plain("1: a\ntrue: b\nnull: c\non: d\n2e-5: e") == {
        "1": "a",
        "true": "b",
        "null": "c",
        "on": "d",
        "2e-5": "e",
    }


def test_every_value_knows_its_line() -> None:
    text = "# a comment\na: 1\nb:\n  c: [x,\n      y]\n  d:\n    - p\n    - {q: 2}\n"
    lines = {path: node.mark.line for path, node in parse(text, HERE).walk()}  # type: ignore[union-attr]
    assert lines == {
        (): 2,
        ("a",): 2,
        ("b",): 3,
        ("b", "c"): 4,
        ("b", "c", 0): 4,
        ("b", "c", 1): 5,
        ("b", "d"): 6,
        ("b", "d", 0): 7,
        ("b", "d", 1): 8,
        ("b", "d", 1, "q"): 8,
    }


@pytest.mark.parametrize("loader", ["CSafeLoader", "SafeLoader"])
@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb: 2\na: 3", 3, "the key 'a' is there twice, first in line 1"),
        ("a: {b: 1, b: 2}", 1, "the key 'b' is there twice"),
        ("x: 1\na: &anchor 1", 2, "anchors and aliases"),
        ("a: &anchor {b: 1}", 1, "anchors and aliases"),
        ("a: *anchor", 1, "anchors and aliases"),
        ("a:\n  <<: {b: 1}", 2, "merge keys (<<)"),
        ("a: !!int 3", 1, "tags are not read, got 'tag:yaml.org,2002:int'"),
        ("a: !!python/object/apply:os.system [ls]", 1, "tags are not read"),
        ("a: !mine {}", 1, "tags are not read, got '!mine'"),
        ("a: ! x", 1, "tags are not read"),
        ("a:\n\tb: 1", 2, "expected spaces as indentation, got a tab"),
        ("a: [1, 2", 1, "the text is no YAML"),
        ("a: 'x", 1, "the text is no YAML"),
        ("a: b: c", 1, "mapping values are not allowed"),
        ("a: 1\n---\nb: 2", 2, "expected one document"),
        ("? [a, b]\n: c", 1, "expected a name as key, got a list or mapping"),
        ("a: 1\n? ~\n: c\n? \n: d", 4, "expected a name as key, got nothing before the colon"),
        ("a: 1\nb: \x07", 2, "got the control character U+0007"),
        ("a: \x00", 1, "got the control character U+0000"),
        ("a: @x", 1, "the text is no YAML"),
        ("%YAML 3.0\n---\na: 1", 1, "the text is no YAML"),
    ],
)
def test_what_could_surprise_is_refused(
    monkeypatch: pytest.MonkeyPatch, loader: str, text: str, line: int, message: str
) -> None:
    monkeypatch.setattr(yaml_tree, "_LOADER", getattr(yaml, loader))
    with pytest.raises(ConfigError) as caught:
        parse(text, HERE)
    (problem,) = caught.value.problems
    assert problem.file == "run.yaml"
    assert message in problem.message
    # At the end of an unfinished text, the two parsers name different lines.
    assert problem.line == line or "no YAML" in problem.message


def test_depth_is_bounded() -> None:
    assert parse("[" * MAX_DEPTH + "]" * MAX_DEPTH, HERE) is not None
    for text in ("[" * (MAX_DEPTH + 1), "[" * 500_000, "{a: " * 50_000):
        with pytest.raises(ConfigError, match="at most 20 levels"):
            parse(text, HERE)


def test_size_and_number_of_values_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    path.write_text("a: " + "x" * MAX_BYTES)
    with pytest.raises(ConfigError, match="at most 1,000,000 bytes"):
        read_tree(path)
    calls = []
    for count in (50_000, 490_000):
        path.write_text("a: [" + "1," * count + "1]")
        with pytest.raises(ConfigError, match="at most 50,000 keys and values"):
            read_tree(path)
        calls.append(effort.calls_of(lambda: read_tree(path)))
    assert calls[0] == calls[1]  # what goes beyond is not looked at


@pytest.mark.parametrize("loader", ["CSafeLoader", "SafeLoader"])
def test_keys_and_values_are_counted_and_nothing_else(monkeypatch: pytest.MonkeyPatch, loader: str) -> None:
    monkeypatch.setattr(yaml_tree, "_LOADER", getattr(yaml, loader))
    monkeypatch.setattr(yaml_tree, "MAX_VALUES", 7)
    text = "a: {b: 1}\nc: [x]\n"  # the whole, three keys, three values of theirs: one more is too many
    assert plain(text.replace("[x]", "x")) == {"a": {"b": 1}, "c": "x"}
    with pytest.raises(ConfigError, match=r"run\.yaml:2: expected at most 7 keys and values, got more"):
        parse(text, HERE)


def test_a_key_that_comes_twice_names_the_first_line_where_the_text_has_no_place_of_its_own() -> None:
    with pytest.raises(ConfigError, match=r"^run: the key 'a' is there twice, first in line 1$"):
        parse("a: 1\na: 2", Mark("run"))
    assert parse("{a: {a: 1}, b: [{a: 2}, {a: 3}]}", Mark("run")) is not None


@pytest.mark.parametrize(
    ("data", "line", "message"),
    [
        (b"", 1, "the file is empty"),
        (b"# only a comment\n", 1, "the file is empty"),
        (b"\xef\xbb\xbf", 1, "the file is empty"),
        (b"- 1\n- 2\n", 1, "expected a mapping of sections, got a list"),
        (b"\n\nhello", 3, "expected a mapping of sections, got 'hello'"),
        (b"null", 1, "expected a mapping of sections, got null"),
        (b"a: 1\nb: \xff\xfe", 2, "expected UTF-8 text, got the byte 0xff"),
        ("a: 1".encode("utf-16"), 1, "expected UTF-8 text"),
        (b"a: caf\xe9", 1, "expected UTF-8 text, got the byte 0xe9"),
    ],
)
def test_a_file_that_is_no_mapping(tmp_path: Path, data: bytes, line: int, message: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        read_tree(path, "run.yaml")
    assert str(caught.value).startswith(f"run.yaml:{line}: ")
    assert message in str(caught.value)


def test_a_folder_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a file, got a folder"):
        read_tree(tmp_path)
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_tree(tmp_path / "absent.yaml")


def test_json_is_read_by_the_same_loader(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text('{\n\t"a": {"b":1e-5, "c": [true,null,"\\/x\\ud83d\\ude00"]},\n\t"d": "no"\n}\n')
    tree = read_tree(path)
    assert tree.plain() == {"a": {"b": 1e-5, "c": [True, None, "/x😀"]}, "d": "no"}
    assert tree.value["d"].mark.line == 3
    path.write_text('{"a": 1,\n "a": 2}')
    with pytest.raises(ConfigError, match=r"run\.json:2: the key 'a' is there twice"):
        read_tree(path)


@pytest.mark.parametrize("loader", ["CSafeLoader", "SafeLoader"])
def test_half_a_character_is_refused(monkeypatch: pytest.MonkeyPatch, loader: str) -> None:
    monkeypatch.setattr(yaml_tree, "_LOADER", getattr(yaml, loader))
    with pytest.raises(ConfigError, match=r"run\.yaml:1: .*(half of a character|escape)"):
        parse('a: "\\ud83d"', HERE)


def test_text_is_never_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    assert plain("a: $SECRET\nb: ${SECRET}\nc: ~/x") == {"a": "$SECRET", "b": "${SECRET}", "c": "~/x"}


@pytest.mark.parametrize("value", [object(), {1: 2}, {"": 1}, b"x", {"a": {1, 2}}, "\ud800", [1j]])
def test_python_values_that_yaml_does_not_hold(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^training(\.a|\[0\])?: expected"):
        from_python(value, Mark(), "training")


def test_python_values(tmp_path: Path) -> None:
    tree = from_python({"a": (1, 2.5), "b": tmp_path, "c": Node("kept", HERE)}, Mark())
    assert tree.plain() == {"a": [1, 2.5], "b": str(tmp_path), "c": "kept"}
    assert tree.value["c"].mark is HERE


def test_floats_are_written_shortly() -> None:
    assert to_yaml({"learning_rate": 2e-5, "big": 1e22, "half": 0.5, "whole": 1.0}) == (
        "learning_rate: 2e-5\nbig: 1e+22\nhalf: 0.5\nwhole: 1.0\n"
    )


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    [
        "no",
        "2e-5",
        "010",
        "1:30",
        "~",
        "",
        " ",
        "null",
        "true",
        "<<",
        "=",
        "- a",
        "a: b",
        "#",
        "|",
        "&a",
        "*a",
        "!t",
        "\t",
    ]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts.filter(bool), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(texts.filter(bool), trees, max_size=5))
def test_what_is_written_reads_back(tree: dict[str, Any]) -> None:
    back = plain(to_yaml(tree))
    assert back == tree
    assert repr(back) == repr(tree)  # 1 is not 1.0 and not True


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=80) | st.text(" \n\t:-,[]{}'\"#&*!|>%@`ab01.~?<", max_size=60))
def test_any_text_is_a_tree_or_a_config_error(text: str) -> None:
    try:
        parse(text, HERE)
    except ConfigError as error:
        assert all(problem.message and problem.file == "run.yaml" for problem in error.problems)
