"""Which folder a run takes, and which one a resume means."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stepbus import CheckpointError
from stepbus.run.files import WRITTEN
from stepbus.run.folders import claim, find_run, free_folder, newest_run, run_documents
from stepbus.storage.locks import FolderHeld, lock_folder


def run_in(folder: Path, *fits: str) -> Path:
    folder.mkdir(parents=True)
    facts = {"fits": [{"name": name, "scope": {}} for name in fits or ("fit",)]}
    (folder / "run.json").write_bytes(run_documents("1", facts, "")["run.json"])
    return folder


@pytest.mark.parametrize(
    ("runs", "others", "wanted", "expected"),
    [
        ([], [], "gap", "gap"),
        (["gap"], [], "gap", "gap-2"),
        (["gap", "gap-3"], [], "gap", "gap-4"),  # above the highest, never into a gap
        (["gap-3"], [], "gap", "gap-4"),  # or --resume would not take the newest
        (["gap", "gap-9", "gap-10"], [], "gap", "gap-11"),  # numbers, not words
        (["gap", "gap-02", "gap-1", "gap-0", "gap-x", "gap-2-2", "xgap-7", "gap-7 "], [], "gap", "gap-2"),
        (["gap"], ["gap-2", "gap-3"], "gap", "gap-4"),  # files stand there
        (["runs-2"], [], "runs-2", "runs-2-2"),
        (["runs", "runs-2"], [], "runs-2/", "runs-2-2"),
        (["a.b+c[1]", "a.b+c[1]-2", "aXb+c[1]-7"], [], "a.b+c[1]", "a.b+c[1]-3"),
        (["deep/er/gap"], [], "deep/er/gap", "deep/er/gap-2"),
        ([], [], "no/such/parent", "no/such/parent"),
    ],
)
def test_a_new_run_takes_the_number_above_the_highest(
    runs: list[str], others: list[str], wanted: str, expected: str, tmp_path: Path
) -> None:
    for name in runs:
        run_in(tmp_path / name)
    for name in others:
        (tmp_path / name).write_text("not a folder")
    assert free_folder(Path(f"{tmp_path}/{wanted}")) == tmp_path / expected
    with claim(Path(f"{tmp_path}/{wanted}")) as claimed:
        assert claimed.folder == tmp_path / expected


def test_a_folder_of_somebody_elses_is_passed_over_and_an_empty_one_of_ours_is_taken(tmp_path: Path) -> None:
    run_in(tmp_path / "gap")
    (tmp_path / "gap-2").mkdir()
    (tmp_path / "gap-2" / "notes.txt").write_text("mine")
    (tmp_path / "gap-3").symlink_to("nowhere")
    (tmp_path / "gap-4").mkdir()
    (tmp_path / "gap-4" / ".lock").write_text("123\n")  # killed before it was a run
    (tmp_path / "gap-4" / f".tmp-{'0' * 32}-run.json").write_text("{")
    assert free_folder(tmp_path / "gap") == tmp_path / "gap-4"
    (tmp_path / "gap-4" / f".tmp-{'0' * 31}-run.json").write_text("not ours")
    assert free_folder(tmp_path / "gap") == tmp_path / "gap-5"


def test_the_present_folder_has_a_name_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here" / "below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert free_folder(Path()) == Path()
    (tmp_path / "here" / "run.json").write_text("{}")
    assert free_folder(Path()) == tmp_path / "here-2"
    assert free_folder(Path("below/..")) == tmp_path / "here-2"
    run_in(tmp_path / "here-2")
    assert free_folder(Path()) == tmp_path / "here-3"
    assert newest_run(Path()) == tmp_path / "here-2"


def test_the_name_of_a_link_counts(tmp_path: Path) -> None:
    run_in(tmp_path / "far" / "away")
    (tmp_path / "link").symlink_to(tmp_path / "far" / "away")
    assert free_folder(tmp_path / "link") == tmp_path / "link-2"
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(CheckpointError, match="dangling: expected a folder that can be written"):
        claim(tmp_path / "dangling").__enter__()


def test_what_is_held_without_a_run_in_it_counts_as_taken(tmp_path: Path) -> None:
    with claim(tmp_path / "run") as first, claim(tmp_path / "run") as second, claim(tmp_path / "run") as third:
        assert [each.folder.name for each in (first, second, third)] == ["run", "run-2", "run-3"]
    with claim(tmp_path / "run") as again:  # all of them ended without a run
        assert again.folder.name == "run"


def test_a_run_that_came_between_is_seen_under_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stepbus.run import folders as run_folders

    def late(folder: Path, **options: bool) -> object:
        if folder.name == "run" and not folder.exists():
            run_in(folder)  # somebody else began and finished between the look and the lock
        return lock_folder(folder, **options)

    monkeypatch.setattr(run_folders, "lock_folder", late)
    with claim(tmp_path / "run") as claimed:
        assert claimed.folder == tmp_path / "run-2"
    assert not (tmp_path / "run" / ".lock").exists()  # what was made in vain is gone again


@pytest.mark.parametrize("name", WRITTEN)
def test_nothing_that_no_run_wrote_is_written_over(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / name).write_text("mine")
    refused = rf"mine/{name}: (this run would write here|expected the lock of a run)"
    with pytest.raises(CheckpointError, match=refused), claim(folder):
        pytest.fail("the folder was taken")
    assert [path.name for path in folder.iterdir()] == [name]
    assert (folder / name).read_text() == "mine"


def test_giving_up_removes_what_was_made_and_nothing_else(tmp_path: Path) -> None:
    with claim(tmp_path / "a" / "b" / "run") as claimed:
        (claimed.folder / "run.json").touch()
        claimed.made.append(claimed.folder / "run.json")
        (claimed.folder / "fits" / "fold-1" / "checkpoints").mkdir(parents=True)
        claimed.give_up(claimed.folder / "fits" / "fold-1")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").touch()
    (tmp_path / "run" / "empty").mkdir()
    with claim(tmp_path / "run") as claimed:
        claimed.give_up(claimed.folder)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["empty", "notes.txt"]


def test_giving_up_leaves_a_run_that_has_something_to_show(tmp_path: Path) -> None:
    with claim(tmp_path / "run") as claimed:
        (claimed.folder / "run.json").touch()
        claimed.made.append(claimed.folder / "run.json")
        (claimed.folder / "model").mkdir()
        claimed.give_up(claimed.folder)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [".lock", "model", "run.json"]


def test_the_newest_run_has_the_highest_number(tmp_path: Path) -> None:
    for name in ("gap", "gap-2", "gap-10"):
        run_in(tmp_path / name)
    (tmp_path / "gap-11").mkdir()  # no run in it
    assert find_run(True, tmp_path / "gap") == (tmp_path / "gap-10", True)
    with pytest.raises(CheckpointError, match="there is no run to resume here"):
        find_run(True, tmp_path / "other")


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    run_in(tmp_path / "one")
    run_in(tmp_path / "folds", "fold-1", "fold-2")
    for path in (
        "one/fits/fit/checkpoints/step-00000005",
        "one/fits/fit/checkpoints/old-step-900",
        "one/fits/fit/checkpoints/step-5.bak",
        "one/fits/fit/checkpoints/step-5",
        f"one/fits/fit/checkpoints/.quarantine-step-00000004-{'a' * 32}",
        "one/backup/step-00000005",
        "one/checkpoints/step-00000005",
        "one/fits/fit/model",
        "folds/fits/fold-1/checkpoints/step-00000005",
        "folds/fits/fold-1/model",
        "folds/fits/fold-9",
        "folds/checkpoints/step-00000005",
    ):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "one" / "fits" / "fit" / "checkpoints" / "LATEST").touch()
    (tmp_path / "link").symlink_to("one/fits/fit/checkpoints/step-00000005")
    (tmp_path / "bad-link").symlink_to("one/fits/fit/model")
    return tmp_path


@pytest.mark.parametrize(
    ("given", "run", "checkpoint"),
    [
        ("one", "one", None),
        ("one/", "one", None),
        ("one/checkpoints/../", "one/checkpoints/..", None),
        ("one/fits/fit/checkpoints/step-00000005", "one", "one/fits/fit/checkpoints/step-00000005"),
        ("link", "one", "one/fits/fit/checkpoints/step-00000005"),
        ("one/fits/fit", "one", None),
        ("folds", "folds", None),
        ("folds/fits/fold-1", "folds", None),
        ("folds/fits/fold-1/checkpoints/step-00000005", "folds", "folds/fits/fold-1/checkpoints/step-00000005"),
    ],
)
def test_what_may_be_resumed(given: str, run: str, checkpoint: str | None, folders: Path) -> None:
    expected = True if checkpoint is None else folders / checkpoint
    assert find_run(f"{folders}/{given}", folders / "elsewhere") == (folders / run, expected)


@pytest.mark.parametrize(
    "given",
    [
        "one/fits/fit/checkpoints",
        "one/fits/fit/checkpoints/old-step-900",
        "one/fits/fit/checkpoints/step-5.bak",
        "one/fits/fit/checkpoints/step-5",
        f"one/fits/fit/checkpoints/.quarantine-step-00000004-{'a' * 32}",
        "one/fits/fit/checkpoints/LATEST",
        "one/backup/step-00000005",
        "one/checkpoints/step-00000005",
        "one/fits/fit/model",
        "one/run.json",
        "bad-link",
        "folds/fits",
        "folds/fits/fold-9",
        "folds/fits/fold-1/model",
        "folds/fits/fold-1/checkpoints",
        "folds/checkpoints/step-00000005",
    ],
)
def test_what_may_not_be_resumed_is_refused_by_name(given: str, folders: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        find_run(f"{folders}/{given}", folders / "elsewhere")
    said = str(caught.value)
    assert said.startswith(f"{folders}/{given}: nothing to resume from; expected a run (")
    assert "/checkpoints/step-NNNNNNNN)" in said
    assert f"a fit's folder ({folders}/{'folds/fits/NAME' if given.startswith('folds') else 'one/fits/fit'}), " in said


@pytest.mark.parametrize("given", ["", "nowhere", "one/fits/fit/checkpoints/step-00000006"])
def test_what_is_not_there_is_refused(given: str, folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folders)
    with pytest.raises(
        CheckpointError, match=r"there is no such run or checkpoint|expected a path, got '': it is empty"
    ):
        find_run(given, folders / "elsewhere")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(CheckpointError, match="closed: cannot be read"):
        free_folder(tmp_path / "closed" / "run")


def nothing(_: Path) -> None: ...


def add_a_run(folder: Path) -> None:
    (folder / "run.json").touch()


@pytest.mark.parametrize("change", [nothing, add_a_run])
def test_the_folder_is_free_again_after_the_block(change: Callable[[Path], None], tmp_path: Path) -> None:
    with claim(tmp_path / "run") as claimed:
        change(claimed.folder)
    with lock_folder(tmp_path / "run", create=False) as made:
        assert made == []


def test_an_error_of_the_block_goes_on_its_way(tmp_path: Path) -> None:
    with lock_folder(tmp_path / "other"), pytest.raises(FolderHeld, match="other"), claim(tmp_path / "run"):
        lock_folder(tmp_path / "other").__enter__()
    assert not (tmp_path / "run-2").exists()
