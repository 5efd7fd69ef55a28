"""Token ids, their cut, and the cache on disk."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, processors

from stepbus.base.errors import ModelError
from stepbus.config.discovery.plugins import import_module
from stepbus.text.tokens import cache as token_cache
from stepbus.text.tokens.cache import cache_folder, cache_key, encode_cached
from stepbus.text.tokens.encode import TextTokenizer, Tokens, cut, tokenizer_files

effort: Any = import_module(str(Path(__file__).parents[3] / "fixtures" / "effort.py"))

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "bad", "film", "##s", ".", ",", "the", "very"]
TEXTS = ["A good film.", "the very bad films", "", "good, good, good, good, good, good, good."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    (path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return path


def tokenizer(folder: Path, max_length: int = 16) -> TextTokenizer:
    return TextTokenizer(tokenizer_files(folder), max_length)


def row(tokens: Tokens, index: int) -> list[int]:
    return tokens.ids[tokens.offsets[index] : tokens.offsets[index + 1]].tolist()


def words(tokens: Tokens, index: int) -> str:
    return " ".join(WORDS[token] for token in row(tokens, index))


def test_vocabulary_alone_gives_berts_tokens(folder: Path) -> None:
    tokens = tokenizer(folder).encode(TEXTS)
    assert words(tokens, 0) == "[CLS] a good film . [SEP]"
    assert words(tokens, 1) == "[CLS] the very bad film ##s [SEP]"
    assert words(tokens, 2) == "[CLS] [SEP]"
    assert tokens.types is None
    assert tokens.lengths.tolist() == [6, 7, 2, 16]
    assert (len(tokens), tokens.truncated, tokens.pad_id) == (4, 0, 0)
    assert (tokens.ids.dtype, tokens.offsets.dtype, tokens.weights.tolist()) == (np.int32, np.int64, [1, 1, 1, 1])


def test_case_is_kept_where_the_tokenizer_says_so(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes((folder / "vocab.txt").read_bytes())
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert words(tokenizer(tmp_path).encode(["A good"]), 0) == "[CLS] [UNK] good [SEP]"


def test_pairs_have_types_and_the_longer_text_is_cut_first(folder: Path) -> None:
    tokens = tokenizer(folder, 8).encode(["good", "very good film"], ["bad film", "the bad bad bad films."])
    assert words(tokens, 0) == "[CLS] good [SEP] bad film [SEP]"
    assert words(tokens, 1) == "[CLS] very good [SEP] the bad bad [SEP]"
    assert tokens.types is not None
    assert tokens.types.tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1]
    assert tokens.truncated == 1


TEXT = st.lists(st.sampled_from(["a", "good", "films", ".", "unknown"]), max_size=20).map(" ".join)


@settings(deadline=None, max_examples=50)
@given(pairs=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=4), max_length=st.integers(5, 24))
def test_cut_agrees_with_the_librarys_longest_first(
    folder: Path, pairs: list[tuple[str, str]], max_length: int
) -> None:
    files = tokenizer_files(folder)
    reference = Tokenizer.from_str(files["tokenizer.json"].decode())
    reference.enable_truncation(max_length, strategy="longest_first")
    ours = TextTokenizer(files, max_length)
    single = ours.encode([first for first, _ in pairs])
    double = ours.encode([first for first, _ in pairs], [second for _, second in pairs])
    for index, (first, second) in enumerate(pairs):
        assert row(single, index) == reference.encode(first).ids
        expected = reference.encode(first, second)
        assert row(double, index) == expected.ids
        assert double.types is not None
        assert double.types[double.offsets[index] : double.offsets[index + 1]].tolist() == expected.type_ids


def test_two_long_documents_take_no_time(folder: Path) -> None:
    long = "good film " * 100_000
    # The library itself takes minutes for this: it keeps each combination of overflowing pieces.
    with effort.ends():
        tokens = tokenizer(folder, 128).encode([long], [long])
    assert (tokens.lengths.tolist(), tokens.truncated) == ([128], 1)


@pytest.mark.parametrize(
    ("lengths", "room", "kept"),
    [([3], 5, [3]), ([9], 5, [5]), ([2, 9], 6, [2, 4]), ([9, 2], 6, [4, 2]), ([9, 9], 5, [2, 3]), ([9, 8], 5, [3, 2])],
)
def test_cut(lengths: list[int], room: int, kept: list[int]) -> None:
    assert cut(lengths, room) == kept


def test_no_room_and_no_tokenizer_are_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"data\.max_length: expected room for text beside 2 special tokens, got 2"):
        tokenizer(folder, 2).encode(["good"])
    with pytest.raises(ModelError, match="beside 3 special tokens, got 4"):
        tokenizer(folder, 4).encode(["good"], ["bad"])
    with pytest.raises(ModelError, match=r"expected a tokenizer\.json or a vocab\.txt, got neither"):
        tokenizer_files(tmp_path)
    (tmp_path / "vocab.txt").write_text("a\nb\n")
    with pytest.raises(ModelError, match=r"vocab.txt: expected the token \[UNK\]"):
        tokenizer_files(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"tokenizer.json: expected a tokenizer"):
        tokenizer(tmp_path)


def test_settings_for_padding_and_truncation_in_the_file_do_not_count(folder: Path, tmp_path: Path) -> None:
    inner = Tokenizer.from_str(tokenizer_files(folder)["tokenizer.json"].decode())
    inner.enable_padding(length=12)
    inner.enable_truncation(4)
    inner.save(str(tmp_path / "tokenizer.json"))
    assert tokenizer(tmp_path).encode(TEXTS).lengths.tolist() == [6, 7, 2, 16]


def test_other_padding_tokens_are_found(folder: Path, tmp_path: Path) -> None:
    files = {**tokenizer_files(folder), "tokenizer_config.json": b'{"pad_token": {"content": "[MASK]"}}'}
    assert TextTokenizer(files, 16).pad_id == WORDS.index("[MASK]")


def test_take_gives_rows_in_the_order_asked_for(folder: Path) -> None:
    tokens = tokenizer(folder).encode(["good", "very bad", "the film ."], ["a", "a a", ""])
    part = tokens.take([2, 0])
    assert [row(part, 0), row(part, 1)] == [row(tokens, 2), row(tokens, 0)]
    assert part.row_ids.tolist() == [2, 0]
    assert part.types is not None
    assert len(part.types) == len(part.ids) == part.offsets[-1]
    assert len(tokens.take([])) == 0


def same(left: Tokens, right: Tokens) -> bool:
    return (
        np.array_equal(left.ids, right.ids)
        and np.array_equal(left.offsets, right.offsets)
        and (left.types is None) == (right.types is None)
        and (left.types is None or right.types is None or np.array_equal(left.types, right.types))
        and (left.truncated, left.pad_id) == (right.truncated, right.pad_id)
    )


@pytest.mark.parametrize("pairs", [None, ["good", "", "bad", "a film"]])
def test_cache_gives_the_same_tokens_without_tokenizing(
    folder: Path, tmp_path: Path, pairs: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = encode_cached(tokenizer(folder), TEXTS, pairs, tmp_path / "new")
    assert [path.suffix for path in (tmp_path / "new").iterdir()] == [".npz"]
    monkeypatch.setattr(TextTokenizer, "encode", lambda *_: pytest.fail("tokenized again"))
    assert same(first, encode_cached(tokenizer(folder), TEXTS, pairs, tmp_path / "new"))


def test_cache_key_depends_on_everything() -> None:
    keys = {
        cache_key(*arguments)
        for arguments in [
            (["ab", "c"], None, b"t", 8),
            (["a", "bc"], None, b"t", 8),
            (["ab"], ["c"], b"t", 8),
            (["ab", "c"], None, b"u", 8),
            (["ab", "c"], None, b"t", 9),
            (["ab", "c"], ["", ""], b"t", 8),
        ]
    }
    assert len(keys) == 6


def test_a_damaged_cache_is_said_and_made_anew(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = encode_cached(tokenizer(folder), TEXTS, None, tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    damages = [b"", whole[: len(whole) // 2], b"no zip at all", whole[:-1]]
    for _ in range(60):
        position = int(random.integers(len(whole)))
        damages.append(
            whole[:position] + bytes([whole[position] ^ (1 << int(random.integers(8)))]) + whole[position + 1 :]
        )
    for damage in damages:
        path.write_bytes(damage)
        assert same(first, encode_cached(tokenizer(folder), TEXTS, None, tmp_path))
    for damage in damages[:3]:
        path.write_bytes(damage)
        caplog.clear()
        encode_cached(tokenizer(folder), TEXTS, None, tmp_path)
        assert "tokenizing again" in caplog.text
        assert path.read_bytes() != damage
    assert list(tmp_path.iterdir()) == [path], "no temporary file stays"


def test_the_cache_stays_within_its_limits(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(token_cache, "MOST_FILES", 3)
    made = tokenizer(folder)
    texts = [[f"film {'good ' * number}"] for number in range(5)]
    for each in texts:
        encode_cached(made, each, None, tmp_path)
        encode_cached(made, texts[0], None, tmp_path)  # used all the time
    assert {path.stem for path in tmp_path.iterdir()} == {
        cache_key(texts[number], None, made.source, 16) for number in (0, 3, 4)
    }
    size = max(path.stat().st_size for path in tmp_path.iterdir())
    monkeypatch.setattr(token_cache, "MOST_BYTES", size + 1)
    encode_cached(made, ["a film"], None, tmp_path)
    assert [path.stem for path in tmp_path.iterdir()] == [cache_key(["a film"], None, made.source, 16)]
    monkeypatch.setattr(token_cache, "MOST_BYTES", 8)
    assert same(encode_cached(made, TEXTS, None, tmp_path), made.encode(TEXTS))
    assert "these tokens are not cached, because they take more than" in caplog.text
    assert [path.stem for path in tmp_path.iterdir()] == [cache_key(["a film"], None, made.source, 16)]


def test_which_rows_were_cut_is_known_of_every_part(folder: Path, tmp_path: Path) -> None:
    texts = ["good " * 30, "bad", "film " * 20, "a"]
    for tokens in (encode_cached(tokenizer(folder), texts, None, tmp_path) for _ in range(2)):
        assert tokens.truncated == 2
        assert [tokens.take(rows).truncated for rows in ([0], [1], [0, 2], [3, 1, 2])] == [1, 0, 2, 1]


def test_a_cache_of_other_texts_under_this_name_is_not_believed(folder: Path, tmp_path: Path) -> None:
    encode_cached(tokenizer(folder), ["bad", "bad", "bad", "bad"], None, tmp_path)
    (other,) = tmp_path.iterdir()
    key = cache_key(TEXTS, None, tokenizer(folder).source, 16)
    other.rename(tmp_path / f"{key}.npz")
    assert same(tokenizer(folder).encode(TEXTS), encode_cached(tokenizer(folder), TEXTS, None, tmp_path))


def test_a_pickle_in_the_cache_is_not_opened(folder: Path, tmp_path: Path) -> None:
    key = cache_key(TEXTS, None, tokenizer(folder).source, 16)
    np.savez(tmp_path / f"{key}.npz", ids=np.array([{"a": 1}], dtype=object))
    assert same(tokenizer(folder).encode(TEXTS), encode_cached(tokenizer(folder), TEXTS, None, tmp_path))


def test_a_cache_that_cannot_be_written_is_no_error(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    tokens = encode_cached(tokenizer(folder), TEXTS, None, tmp_path / "file")
    assert len(tokens) == 4
    assert "cannot be cached" in caplog.text


@pytest.mark.parametrize("kind", ["link", "foreign", "open"])
def test_a_cache_that_others_could_fill_is_not_trusted(
    kind: str, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = tmp_path / "tokens"
    encode_cached(tokenizer(folder), TEXTS, None, cache)
    (path,) = cache.iterdir()
    planted = encode_cached(tokenizer(folder), ["bad"] * 4, None, None)
    path.unlink()
    token_cache._write(path, path.stem, planted)  # whole, and of other texts
    if kind == "link":
        cache.rename(tmp_path / "elsewhere")
        cache.symlink_to(tmp_path / "elsewhere")
    elif kind == "open":
        cache.chmod(0o777)
    elif os.geteuid() == 0:
        os.chown(cache, 4321, -1)
    else:
        pytest.skip("only root can give folders away")
    before = path.read_bytes()
    for _ in range(2):
        assert same(tokenizer(folder).encode(TEXTS), encode_cached(tokenizer(folder), TEXTS, None, cache))
    assert caplog.text.count("the tokens cannot be cached") == 1
    assert [entry.name for entry in cache.iterdir()] == [path.name]
    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", ["link", "foreign"])
def test_cached_tokens_that_are_no_file_of_ours_are_made_anew(
    kind: str, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = tmp_path / "tokens"
    encode_cached(tokenizer(folder), TEXTS, None, cache)
    (path,) = cache.iterdir()
    token_cache._write(path, path.stem, encode_cached(tokenizer(folder), ["bad"] * 4, None, None))
    if kind == "link":
        path.rename(tmp_path / "planted.npz")
        path.symlink_to(tmp_path / "planted.npz")
    elif os.geteuid() == 0:
        os.chown(path, 4321, -1)
    else:
        pytest.skip("only root can give files away")
    assert same(tokenizer(folder).encode(TEXTS), encode_cached(tokenizer(folder), TEXTS, None, cache))
    assert "no file of your own; tokenizing again" in caplog.text
    caplog.clear()
    assert same(tokenizer(folder).encode(TEXTS), encode_cached(tokenizer(folder), TEXTS, None, cache))
    assert caplog.text == ""


def test_the_usual_folder_is_checked_with_what_holds_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("STEPBUS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "stepbus").symlink_to(tmp_path / "elsewhere")
    encode_cached(tokenizer(folder), TEXTS, None, cache_folder(True))
    assert f"{tmp_path / 'stepbus'}: expected a folder of your own, got a link" in caplog.text
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STEPBUS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder(False) is None
    assert cache_folder("here") == Path("here")
    assert cache_folder(True) == tmp_path / ".cache" / "stepbus" / "tokens"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder(True) == tmp_path / "xdg" / "stepbus" / "tokens"
    monkeypatch.setenv("STEPBUS_CACHE", str(tmp_path / "own"))
    assert cache_folder(True) == tmp_path / "own" / "tokens"


def test_no_cache_is_made_of_a_url(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    monkeypatch.setenv("STEPBUS_CACHE", "https://me:secret@example.com/cache")
    encode_cached(tokenizer(folder), TEXTS, None, cache_folder(True))
    assert set(tmp_path.iterdir()) == before
    assert "STEPBUS_CACHE: expected a folder of this machine, got a URL" in caplog.text
    assert "secret" not in caplog.text


def test_the_cache_folder_is_private(folder: Path, tmp_path: Path) -> None:
    encode_cached(tokenizer(folder), TEXTS, None, tmp_path / "made")
    assert os.stat(tmp_path / "made").st_mode & 0o077 == 0  # noqa: PTH116 - the mode is the point
    assert token_cache.VERSION == 1
    assert json.loads(tokenizer_files(folder)["tokenizer.json"])["model"]["type"] == "WordPiece"


def test_a_tokenizer_that_does_not_know_the_letter_a_is_no_fault(tmp_path: Path) -> None:
    inner = Tokenizer(models.BPE(vocab={"z": 0, "<s>": 1}, merges=[]))
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)])
    inner.save(str(tmp_path / "tokenizer.json"))
    assert tokenizer(tmp_path).encode(["zza"]).ids.tolist() == [1, 0, 0]


def test_a_tokenizer_that_finds_nothing_or_fails_is_said(tmp_path: Path) -> None:
    Tokenizer(models.BPE(vocab={}, merges=[])).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ModelError, match=r"cannot encode a text \(it finds no token in any word of its vocabulary\)"):
        tokenizer(tmp_path)
    Tokenizer(models.WordLevel({"x": 0}, unk_token="[WHAT]")).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ModelError, match=r"cannot encode a text \(WordLevel error: Missing \[UNK\] token"):
        tokenizer(tmp_path)


def test_types_beyond_a_byte_are_refused(tmp_path: Path) -> None:
    inner = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    inner.post_processor = processors.TemplateProcessing(single="$A:300", pair="$A $B", special_tokens=[])
    inner.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    with pytest.raises(ModelError, match=r"cannot encode a text \(it gives the token ids \[0\] of the types \[300\]\)"):
        tokenizer(tmp_path)
