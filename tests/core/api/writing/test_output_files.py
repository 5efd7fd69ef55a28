"""Where results are written: nothing but a plain file is replaced, and only when all of it is known."""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from stepbus.api.writing.output_files import SUFFIXES, find_output, write_output
from stepbus.base.errors import BadInput


def write(place: str | Path, text: str = "new", inputs: tuple[object, ...] = ()) -> None:
    write_output(find_output(place, inputs), [part.encode() for part in text])


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    """A file with content, open at its end like standard output after `>>`."""
    opened = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    os.write(opened, b"old\n")
    yield opened
    os.close(opened)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_new_file_and_its_folders(tmp_path: Path, suffix: str) -> None:
    place = tmp_path / "a" / "b" / f"p{suffix.upper()}"
    assert find_output(place).suffix == suffix
    assert not place.parent.exists()  # finding creates nothing
    write(place)
    assert place.read_text() == "new"
    assert names_in(place.parent) == [place.name]


def test_a_file_keeps_its_permissions(tmp_path: Path) -> None:
    place = tmp_path / "p.csv"
    place.write_text("old")
    place.chmod(0o640)
    write(place)
    assert (place.read_text(), stat.S_IMODE(place.stat().st_mode)) == ("new", 0o640)


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path, there: bool) -> None:
    (tmp_path / "far").mkdir()
    target = tmp_path / "far" / "target.csv"
    if there:
        target.write_text("old")
    (tmp_path / "between.csv").symlink_to("far/target.csv")
    (tmp_path / "link.csv").symlink_to("between.csv")
    write(tmp_path / "link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "between.csv").is_symlink()
    assert target.read_text() == "new"
    assert names_in(tmp_path / "far") == ["target.csv"]


def test_a_device_is_written_to() -> None:
    before = Path("/dev/null").stat()
    write("/dev/null")
    after = Path("/dev/null").stat()
    assert (after.st_mode, after.st_ino, after.st_rdev) == (before.st_mode, before.st_ino, before.st_rdev)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
def test_a_full_device_is_a_sentence() -> None:
    with pytest.raises(BadInput, match=r"^/dev/full: expected a file that can be written, got 'No space left"):
        write("/dev/full")
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def test_a_named_pipe_is_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe.csv").read_text()))
    reader.start()
    write(tmp_path / "pipe.csv")
    reader.join()
    assert read == ["new"]
    assert stat.S_ISFIFO((tmp_path / "pipe.csv").stat().st_mode)


@pytest.mark.parametrize("form", ["/dev/fd/{}", "/proc/self/fd/{}", "link"])
def test_an_open_file_is_written_where_it_stands(descriptor: int, form: str, tmp_path: Path) -> None:
    """Opening it anew would write over its beginning, and replacing it would lose what stands in it."""
    if form == "/proc/self/fd/{}" and not Path("/proc/self/fd").exists():
        pytest.skip("Linux only")
    place = form.format(descriptor)
    if form == "link":
        place = str(tmp_path / "link")
        (tmp_path / "link").symlink_to(f"/dev/fd/{descriptor}")
    write(place)
    assert (tmp_path / "log").read_text() == "old\nnew"
    os.write(descriptor, b"more")
    assert (tmp_path / "log").read_text() == "old\nnewmore"


def test_a_descriptor_that_is_not_open_is_a_sentence() -> None:
    with pytest.raises(BadInput, match="Bad file descriptor"):
        write("/dev/fd/987")


def test_a_dash_is_pythons_standard_output(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    print("before")
    write("-", "größer")
    assert capsysbinary.readouterr().out == b"before\n" + "größer".encode()
    with redirect_stdout(io.StringIO()) as text:  # as in a notebook: no bytes behind it
        write_output(find_output("-"), ["größer".encode()])
    assert text.getvalue() == "größer"


def test_what_is_printed_must_not_run_into_the_results(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert find_output("-").on_stdout
    assert find_output("/dev/fd/1").on_stdout
    assert not find_output(tmp_path / "p.csv").on_stdout
    assert not find_output("/dev/null").on_stdout
    write("/dev/fd/1")
    assert capfd.readouterr().out == "new"


def test_home_is_meant_by_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write("~/p.csv")
    write(Path("~/q.csv"))
    assert names_in(tmp_path) == ["p.csv", "q.csv"]
    with pytest.raises(
        BadInput, match=r"^expected a path, got '~no-such-user/p\.csv': there is no user 'no-such-user'$"
    ):
        write("~no-such-user/p.csv")


@pytest.mark.parametrize("place", ["", ".", "..", "folder", "folder/", "folder/.", "new/", "link"])
def test_a_folder_is_refused(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    with pytest.raises(BadInput, match="expected a file to write, got a folder" if place else "got '': it is empty"):
        write(place)
    assert names_in(tmp_path) == ["folder", "link"]


@pytest.mark.parametrize("place", ["p", "p.txt", "p.csv.gz", ".csv", "p.xlsx"])
def test_an_unknown_ending_is_refused(place: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"expected a file ending in \.csv, \.tsv, \.jsonl, \.ndjson, \.parquet, got"):
        write(tmp_path / place)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("place", ["in.csv", "./in.csv", "sub/../in.csv", "hard.csv", "soft.csv", "dev"])
def test_the_rows_that_are_read_are_refused(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "in.csv").write_text("rows")
    (tmp_path / "hard.csv").hardlink_to("in.csv")
    (tmp_path / "soft.csv").symlink_to("in.csv")
    with (tmp_path / "in.csv").open("a") as file:
        given = f"/dev/fd/{file.fileno()}" if place == "dev" else place
        for source in ("in.csv", tmp_path / "soft.csv"):
            with pytest.raises(BadInput, match="expected another file than the rows that were read"):
                write(given, inputs=(None, 0.1, "sklearn:iris", object(), source))
    assert (tmp_path / "in.csv").read_text() == "rows"
    write("other.csv", inputs=("in.csv",))
    assert (tmp_path / "other.csv").read_text() == "new"


def test_a_models_and_a_runs_files_are_refused(tmp_path: Path) -> None:
    model = tmp_path / "run" / "fits" / "fold-1" / "model"
    model.mkdir(parents=True)
    for name in ("stepbus.json", "config.json"):
        (model / name).write_text("{}")
    (tmp_path / "run" / "run.json").write_text('{"id": "x", "facts": {}, "writes": ["history.*"]}')
    (tmp_path / "link").symlink_to(model)
    fold = model.parent
    refused = [model / "p.csv", model / "deep" / "p.csv", tmp_path / "link" / "p.csv", fold / "history.csv"]
    refused += [tmp_path / "run" / "history.jsonl", tmp_path / "run" / "checkpoints" / "p.csv"]
    for place in refused:
        with pytest.raises(BadInput, match="expected a file that is no part of a model or a run"):
            write(place)
        assert not place.exists()
    for place in (tmp_path / "run" / "p.csv", fold / "p.csv"):
        write(place)
        assert place.read_text() == "new"


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("x" * 300 + ".csv", "a name in it is longer than 255 bytes"),
        ("file/p.csv", "it leads through a file as if that were a folder"),
        ("loop.csv", "its links go round in a circle"),
        ("nul\0.csv", "it holds a NUL character"),
        ("protected.csv", "read-only"),
    ],
)
def test_what_the_system_refuses_is_one_sentence(place: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    (tmp_path / "protected.csv").write_text("old")
    (tmp_path / "protected.csv").chmod(0o444)
    before = names_in(tmp_path)
    with pytest.raises(BadInput, match=words) as caught:
        write(f"{tmp_path}/{place}")
    assert len(str(caught.value).splitlines()) == 1
    assert names_in(tmp_path) == before
    assert (tmp_path / "protected.csv").read_text() == "old"


def test_a_folder_without_permission_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(BadInput, match="expected a folder that can be written"):
        find_output(tmp_path / "p.csv")


def test_a_name_as_long_as_the_system_allows(tmp_path: Path) -> None:
    place = tmp_path / ("x" * 251 + ".csv")
    write(place)
    write(place, "newer")
    assert place.read_text() == "newer"


@pytest.mark.parametrize("failing", ["os.write", "os.fsync", "pathlib.Path.replace"])
@pytest.mark.parametrize("there", [True, False])
def test_a_failure_leaves_what_was_there(
    failing: str, there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "a" / "b" / "p.csv"
    if there:
        place.parent.mkdir(parents=True)
        place.write_text("old")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(failing, fail)
        with pytest.raises(BadInput, match="No space left on device"):
            write(place)
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == (
        ["a", "a/b", "a/b/p.csv"] if there else []
    )
    if there:
        assert place.read_text() == "old"


def test_content_that_fails_half_way_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("old")

    def blocks() -> Iterator[bytes]:
        yield b"new"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_output(find_output(tmp_path / "p.csv"), blocks())
    assert names_in(tmp_path) == ["p.csv"]
    assert (tmp_path / "p.csv").read_text() == "old"


def test_a_closed_standard_output_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(BadInput, match=r"^standard output: expected .*it is closed"):
        write("-")
