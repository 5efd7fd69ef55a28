"""Folders' tokenizers against transformers' ids; the fixture comes from tests/fixtures/make_tokenizer_fixtures.py."""

from __future__ import annotations

import functools
import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from stepbus.base.errors import ModelError
from stepbus.compute.folders import find_folder
from stepbus.text.tokens.build import load_tokenizer
from stepbus.text.tokens.encode import TextTokenizer, Tokens
from stepbus.text.tokens.folder import tokenizer_files, vocabulary_rows

FIXTURE = Path(__file__).parents[3] / "fixtures" / "tokenizers.json.xz"
NAMES = [
    *("vocab_only", "uncased", "cased", "uncased_accents", "cased_no_accents", "windows_lines", "odd_lines", "no_mask"),
    *("added_file", "added_decoder", "other_names", "json_only_cased", "json_and_settings", "json_against_vocab"),
    *("json_with_tokens", "json_as_it_is", "byte_pairs", "distilbert", "split_special"),
]


@functools.cache
def fixture() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(lzma.decompress(FIXTURE.read_bytes()))
    return found


def folder_of(name: str, place: Path) -> Path:
    place.mkdir(exist_ok=True)
    for file, content in fixture()["files"][name].items():
        (place / file).write_bytes(content.encode())
    (place / "config.json").write_text('{"model_type": "bert"}')
    return place


def rows(tokens: Tokens, values: Any = None) -> list[list[int]]:
    values = tokens.ids if values is None else values
    return [values[tokens.offsets[at] : tokens.offsets[at + 1]].tolist() for at in range(len(tokens))]


def exported(files: dict[str, bytes], place: Path) -> Path:
    place.mkdir()
    for name, content in files.items():
        (place / name).write_bytes(content)
    (place / "config.json").write_text('{"model_type": "bert"}')
    return place


def test_the_fixture_holds_every_folder() -> None:
    assert set(fixture()["files"]) == set(NAMES)
    assert len(fixture()["texts"]) == 500


@pytest.mark.parametrize("name", [*NAMES, "minilm"])
def test_ids_are_those_of_transformers_also_from_the_export(name: str, minilm: str, tmp_path: Path) -> None:
    folder = find_folder(minilm) if name == "minilm" else folder_of(name, tmp_path / "folder")
    texts, files = fixture()["texts"], tokenizer_files(folder)
    again = tokenizer_files(exported(files, tmp_path / "export"))
    for each in (files, again):
        assert rows(TextTokenizer(each, 10_000).encode(texts)) == fixture()["ids"][name]


@pytest.mark.parametrize("name", [*NAMES, "minilm"])
def test_pairs_their_types_and_their_cut_are_those_of_transformers(name: str, minilm: str, tmp_path: Path) -> None:
    texts, expected = fixture()["texts"], fixture()["pairs"][name]
    first, second = texts[-len(expected) :], [text or " " for text in texts[-len(expected) - 1 : -1]]
    folder = find_folder(minilm) if name == "minilm" else folder_of(name, tmp_path / "folder")
    files = tokenizer_files(folder)
    tokens = TextTokenizer(files, fixture()["room"]).encode(first, second)
    assert rows(tokens) == [ids for ids, _ in expected]
    types = [given for _, given in expected]
    if types[0] is None:
        assert tokens.types is None
    else:
        assert rows(tokens, tokens.types) == types


def written(place: Path, **files: Any) -> Path:
    """The folder `uncased` with other JSON files in it."""
    folder_of("uncased", place)
    for name, value in files.items():
        (place / f"{name}.json").write_text(value if isinstance(value, str) else json.dumps(value))
    return place


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("tokenizer_config", "{", r"tokenizer_config\.json: expected a readable JSON file"),
        ("tokenizer_config", [], r"tokenizer_config\.json: expected a mapping, got list"),
        ("tokenizer_config", {"do_lower_case": None}, "do_lower_case: expected true or false, got None"),
        ("tokenizer_config", {"tokenize_chinese_chars": 0}, "tokenize_chinese_chars: expected true or false, got 0"),
        ("tokenizer_config", {"strip_accents": "no"}, "strip_accents: expected true, false or null, got 'no'"),
        ("tokenizer_config", {"truncation_side": "up"}, "truncation_side: expected left or right, got 'up'"),
        ("tokenizer_config", {"padding_side": 3}, "padding_side: expected left or right, got 3"),
        ("tokenizer_config", {"model_input_names": "ids"}, "model_input_names: expected a list of names, got 'ids'"),
        ("tokenizer_config", {"add_special_tokens": False}, "add_special_tokens: .* transformers does not open either"),
        ("tokenizer_config", {"cls_token": None}, "cls_token: expected a token, got null"),
        ("tokenizer_config", {"sep_token": 3}, "sep_token: expected a token as text or as a mapping .* got 3"),
        ("tokenizer_config", {"sep_token": "\ud800"}, r"tokenizer_config\.json: .* got half of a character"),
        ("tokenizer_config", {"unk_token": "[WHAT]"}, r"expected the token \[WHAT\], got a vocabulary without it"),
        ("tokenizer_config", {"added_tokens_decoder": []}, "added_tokens_decoder: expected a mapping"),
        (
            "tokenizer_config",
            {"added_tokens_decoder": {"x": {"content": "a"}}},
            "expected an id of at least 0, got 'x'",
        ),
        (
            "tokenizer_config",
            {"added_tokens_decoder": {"7": {"content": "a", "stem": True}}},
            "added_tokens_decoder: 7: stem: expected one of content, .* got 'stem'",
        ),
        ("added_tokens", {"<e>": -1}, r"added_tokens\.json: <e>: expected an id of at least 0, got -1"),
        ("special_tokens_map", {"cls_token": {"content": 1}}, "cls_token: content: expected str, got 1"),
        (
            "tokenizer_config",
            {"tokenizer_class": "BertJapaneseTokenizer"},
            "'BertJapaneseTokenizer', which splits words",
        ),
        ("config", {"tokenizer_class": "BertJapaneseTokenizer"}, "'BertJapaneseTokenizer', which splits words"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_name(file: str, content: Any, words: str, tmp_path: Path) -> None:
    folder = written(tmp_path / "folder", **{file: content})
    if file == "config":
        (folder / "tokenizer_config.json").unlink()
    with pytest.raises(ModelError, match=words):
        load_tokenizer(tokenizer_files(folder))


def test_what_overrules_tokenizer_json_is_said(tmp_path: Path) -> None:
    (note,) = load_tokenizer(tokenizer_files(folder_of("json_and_settings", tmp_path / "folder"))).notes
    assert "normalizer.lowercase is False, not True; tokenizer_class: PreTrainedTokenizerFast" in note
    for name in ("vocab_only", "added_file", "json_as_it_is"):
        assert load_tokenizer(tokenizer_files(folder_of(name, tmp_path / name))).notes == []


def test_a_frame_that_is_overruled_is_said_and_one_that_says_the_same_is_not(tmp_path: Path) -> None:
    folder = folder_of("uncased", tmp_path / "folder")
    files = tokenizer_files(folder)
    whole = json.loads(files["tokenizer.json"])
    vocabulary = whole["model"]["vocab"]
    same = {"type": "BertProcessing", "cls": ["[CLS]", vocabulary["[CLS]"]], "sep": ["[SEP]", vocabulary["[SEP]"]]}
    template = {**whole["post_processor"], "pair": whole["post_processor"]["single"]}
    for frame, said in ((same, 0), (None, 0), (template, 1), ({**template, "special_tokens": {}}, 1)):
        (folder / "tokenizer.json").write_text(json.dumps({**whole, "post_processor": frame}))
        found = load_tokenizer(tokenizer_files(folder))
        assert len([note for note in found.notes if "not those of post_processor" in note]) == said
        assert found.probes[0].tokens[::2] == ["[CLS]", "[SEP]"]


def test_a_part_that_is_overruled_is_quoted_in_short(tmp_path: Path) -> None:
    folder = folder_of("uncased", tmp_path / "folder")
    whole = json.loads(tokenizer_files(folder)["tokenizer.json"])
    long = {"type": "Replace", "pattern": {"String": "x" * 100_000}, "content": ""}
    (folder / "tokenizer.json").write_text(json.dumps({**whole, "normalizer": long}))
    (note,) = load_tokenizer(tokenizer_files(folder)).notes
    assert "normalizer.type is 'BertNormalizer', not 'Replace'" in note
    assert "post_processor" not in note
    assert len(note) < 700


@pytest.mark.parametrize(
    ("limit", "longest"), [(None, None), (12, 12), (0, None), (-1, None), (10**30, None), (1e19, 10**19), ("x", None)]
)
def test_the_folders_limit_is_taken_where_it_means_one(limit: Any, longest: int | None, tmp_path: Path) -> None:
    folder = written(tmp_path / "folder", tokenizer_config={"model_max_length": limit})
    assert load_tokenizer(tokenizer_files(folder)).longest == longest


def test_padding_on_the_left_is_said_and_changes_no_row(tmp_path: Path) -> None:
    found = load_tokenizer(tokenizer_files(written(tmp_path / "folder", tokenizer_config={"padding_side": "left"})))
    assert "the tokenizer pads on the left" in found.notes[0]
    plain = load_tokenizer(tokenizer_files(folder_of("uncased", tmp_path / "plain")))
    assert found.tokenizer.encode("a good film").ids == plain.tokenizer.encode("a good film").ids


def test_rows_for_every_token_count_the_added_ones(tmp_path: Path) -> None:
    words = fixture()["files"]["vocab_only"]["vocab.txt"].count("\n")
    assert vocabulary_rows(folder_of("vocab_only", tmp_path / "a")) == words
    assert vocabulary_rows(folder_of("added_file", tmp_path / "b")) == words + 4  # <new>, <e>, Café and [X]


def test_a_token_written_as_a_plain_mapping_is_exported_as_transformers_reads_it(tmp_path: Path) -> None:
    token = {"content": "[CLS]", "lstrip": True}
    files = tokenizer_files(written(tmp_path / "folder", tokenizer_config={"cls_token": token}))
    assert json.loads(files["tokenizer_config.json"]) == {"cls_token": {**token, "__type": "AddedToken"}}


def test_byte_pairs_without_a_class_are_no_word_pieces_and_the_export_says_so(tmp_path: Path) -> None:
    folder = folder_of("byte_pairs", tmp_path / "folder")
    (folder / "tokenizer_config.json").unlink()
    files = tokenizer_files(folder)
    assert json.loads(files["tokenizer_config.json"]) == {"tokenizer_class": "PreTrainedTokenizerFast"}
    assert rows(TextTokenizer(files, 10_000).encode(fixture()["texts"])) == fixture()["ids"]["byte_pairs"]
