"""Archives of strangers: what leads elsewhere, is no plain file, is damaged or unpacks to too much is refused whole."""

from __future__ import annotations

import hashlib
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from stepbus.base.errors import DataError, ModelError
from stepbus.storage.wheels import archives
from stepbus.storage.wheels.archives import Checked, opened, read_entry, write_entry


def zipped(path: Path, *entries: tuple[zipfile.ZipInfo | str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for info, content in entries:
            archive.writestr(info, content)
    return path


def entry(name: str, mode: int = 0, **fields: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.filename = name  # the constructor cuts at a NUL
    info.external_attr = mode << 16
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def changed(path: Path, change: Callable[[bytes], bytes]) -> Path:
    path.write_bytes(change(path.read_bytes()))
    return path


def test_files_are_listed_with_their_sizes_and_folders_are_not(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", ("a/", b""), ("a/b.json", b"{}"), ("a/c/d.txt", b"text"))
    with opened(path, ModelError, "it") as (_, files):
        assert files == {"a/b.json": 2, "a/c/d.txt": 4}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("/etc/passwd", "an absolute path"),
        ("../up", "leads out of it"),
        ("a/../../up", "leads out of it"),
        ("a/..", "leads out of it"),
        ("a\\..\\up", "no plain path"),
        ("C:/up", "no plain path"),
        ("a:b", "no plain path"),
        ("a//b", "no plain path"),
        ("./a", "no plain path"),
        ("a/./b", "no plain path"),
        ("a\x00b", "no plain path"),
        ("a\nb", "no plain path"),
        ("a\x1b[2J", "no plain path"),
        ("x" * 256, "no plain path"),
        ("é" * 128, "no plain path"),
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(name: str, words: str, tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", ("good.json", b"{}"), (entry(name), b"x"))
    with pytest.raises(ModelError, match=words) as raised, opened(path, ModelError, "it"):
        pass
    assert str(raised.value).startswith("it: expected plain files within the archive, got ")
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    ("info", "words"),
    [
        (entry("link", stat.S_IFLNK | 0o777), "a link"),
        (entry("pipe", stat.S_IFIFO | 0o644), "a special file"),
        (entry("device", stat.S_IFBLK | 0o644), "a special file"),
        (entry("folder", stat.S_IFDIR | 0o755), "a special file"),
        (entry("bzip", compress_type=zipfile.ZIP_BZIP2), "packed by method 12"),
        (entry("lzma", compress_type=zipfile.ZIP_LZMA), "packed by method 14"),
    ],
)
def test_what_is_no_plain_file_is_refused(info: zipfile.ZipInfo, words: str, tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", (info, b"../../etc"))
    with pytest.raises(ModelError, match=words), opened(path, ModelError, "it"):
        pass


@pytest.mark.parametrize("bit", [0x1, 0x40, 0x2000])
def test_an_encrypted_entry_is_refused_before_it_is_read(bit: int, tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", ("a.json", b"{}"))

    def encrypted(content: bytes) -> bytes:
        at = content.index(b"PK\x01\x02") + 8
        return content[:at] + struct.pack("<H", bit) + content[at + 2 :]

    with pytest.raises(ModelError, match="which is encrypted"), opened(changed(path, encrypted), ModelError, "it"):
        pass


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_comes_twice_or_as_file_and_folder_is_refused(tmp_path: Path) -> None:
    for names, words in ((("a", "a"), "each file once, got 'a' again"), (("a", "a/b"), "got 'a' as both")):
        path = zipped(tmp_path / "a.zip", *((name, b"x") for name in names))
        with pytest.raises(ModelError, match=words), opened(path, ModelError, "it"):
            pass


def test_the_kind_of_error_is_the_callers(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"no archive")
    words = "it: expected a whole zip archive, got a damaged one"
    with pytest.raises(DataError, match=words), opened(tmp_path / "a.zip", DataError, "it"):
        pass


def test_one_that_is_cut_anywhere_or_empty_is_refused(tmp_path: Path) -> None:
    whole = zipped(tmp_path / "a.zip", ("a.json", b"{}" * 50), ("b.json", b"[]" * 50)).read_bytes()
    for length in range(len(whole)):
        (tmp_path / "cut.zip").write_bytes(whole[:length])
        with pytest.raises(ModelError, match="damaged"), opened(tmp_path / "cut.zip", ModelError, "it"):
            pass


def test_a_flipped_bit_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    contents = {"a.json": b'{"some": "text"}' * 4, "b.json": b"[1, 2]" * 9}
    whole = zipped(tmp_path / "a.zip", *contents.items()).read_bytes()
    refused = 0
    for at in range(0, len(whole), 2):
        (tmp_path / "flipped.zip").write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        try:
            with opened(tmp_path / "flipped.zip", ModelError, "it") as (archive, files):
                for name in files:
                    target = tmp_path / "out"
                    target.unlink(missing_ok=True)
                    write_entry(archive, name, target, ModelError, "it")
                    assert target.read_bytes() in contents.values()
        except ModelError:
            refused += 1
    assert refused > len(whole) // 6


def test_a_list_of_entries_is_bounded_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(tmp_path / "a.zip", *((f"{number}.json", b"") for number in range(40)))
    monkeypatch.setattr(archives, "MAX_DIRECTORY", 1_000)
    with pytest.raises(ModelError, match="its list of entries is longer"), opened(path, ModelError, "it"):
        pass
    monkeypatch.setattr(archives, "MAX_DIRECTORY", 1 << 20)
    monkeypatch.setattr(archives, "MAX_ENTRIES", 39)
    with pytest.raises(ModelError, match="expected at most 39 entries, got 40"), opened(path, ModelError, "it"):
        pass


def test_a_bomb_is_refused_before_a_byte_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "LARGE", 1_000)
    path = zipped(tmp_path / "a.zip", ("a.json", bytes(10_000_000)))
    with (
        pytest.raises(ModelError, match=r"expected at most 200 times its packed size of [\d,]+ bytes, got 10,000,000"),
        opened(path, ModelError, "it") as (archive, _),
    ):
        write_entry(archive, "a.json", tmp_path / "out", ModelError, "it")
    assert not (tmp_path / "out").exists()


def test_what_holds_more_than_it_says_is_refused(tmp_path: Path) -> None:
    """The entry says 10 bytes, and its stream goes on."""
    path = zipped(tmp_path / "a.zip", ("a.json", bytes(100_000)))

    def smaller(content: bytes) -> bytes:
        return content.replace(struct.pack("<I", 100_000), struct.pack("<I", 10))

    with (
        pytest.raises(ModelError, match="damaged"),
        opened(changed(path, smaller), ModelError, "it") as (archive, files),
    ):
        assert files == {"a.json": 10}
        write_entry(archive, "a.json", tmp_path / "out", ModelError, "it")


def test_a_content_is_held_against_its_digest(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", ("a.json", b"{}"), method=zipfile.ZIP_STORED)
    for algorithm in ("sha256", "sha384", "sha512"):
        good = Checked(algorithm, hashlib.new(algorithm, b"{}").digest())
        with opened(path, ModelError, "it") as (archive, _):
            written = write_entry(archive, "a.json", tmp_path / algorithm, ModelError, "it", good)
        assert (written.size, written.sha256) == (2, hashlib.sha256(b"{}").hexdigest())
        bad = Checked(algorithm, hashlib.new(algorithm, b"[]").digest())
        with (
            pytest.raises(ModelError, match=f"a.json: the content is not what was packed .its {algorithm} differs"),
            opened(path, ModelError, "it") as (archive, _),
        ):
            write_entry(archive, "a.json", tmp_path / f"{algorithm}-2", ModelError, "it", bad)


def test_a_small_file_is_bounded(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", ("a.json", b"x" * 11))
    with opened(path, ModelError, "it") as (archive, _):
        assert read_entry(archive, "a.json", 11, ModelError, "it") == b"x" * 11
        with pytest.raises(ModelError, match=r"a\.json: expected at most 10 bytes, got 11"):
            read_entry(archive, "a.json", 10, ModelError, "it")
