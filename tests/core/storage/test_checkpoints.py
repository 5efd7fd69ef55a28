"""Checkpoints: what is written comes back, what stays and goes, what a resume takes and compares."""

from __future__ import annotations

import json
import math
import os
import sys
import weakref
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepbus import CheckpointError, Retention
from stepbus.storage.checkpoints import (
    MANIFEST,
    Checkpoint,
    NotFiniteError,
    Snapshot,
    best_of,
    checkpoint_path,
    compare_facts,
    discard,
    held,
    latest_valid,
    mark_best,
    read_arrays,
    read_document,
    retire,
    scan,
    set_aside,
    share_files,
    step_of,
    sweep,
    trial_place,
    verify,
    write_checkpoint,
    writing,
)

FACTS = {
    "run": "r1",
    "config": {
        "optimizer": {"type": "adamw", "learning_rate": 5e-5},
        "data": {"batch_size": 32, "label": ["a", "b"]},
        "training": {"seed": 42, "max_steps": None},
        "environment": {"output_dir": "runs"},
        "plugins": {"early_stopping": {"patience": 3}, "progress": {}},
    },
    "plugins": {
        "early_stopping": {"distribution": "stepbus", "version": "0.1.0"},
        "progress": {"distribution": "stepbus", "version": "0.1.0"},
    },
    "data": {"train": "abc", "validation": "def"},
}


def snapshot(step: int, label: str = "x", **changes: Any) -> Snapshot:
    values: dict[str, Any] = {
        "arrays": {"model": {"weight": mx.full((2, 3), step), "scale": mx.array(0.5, dtype=mx.bfloat16)}},
        "documents": {"state.json": {"label": label, "loss": math.nan}},
        "facts": FACTS,
    }
    return Snapshot(step=step, **(values | changes))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def spoil(checkpoint: Path) -> None:
    (checkpoint / "state.json").write_text("{}")


# --- writing and reading ---------------------------------------------------------------------------------------------


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    (tmp_path / "vocabulary").write_text("[PAD]\n[UNK]\n")
    folder = tmp_path / "run" / "checkpoints"
    copies = {"vocab.txt": tmp_path / "vocabulary"}
    written = write_checkpoint(folder, snapshot(100, copies=copies), pinned=True)
    assert written.path == folder / "step-00000100"
    assert names(written.path) == [MANIFEST, "model.safetensors", "state.json", "vocab.txt"]
    assert names(folder) == ["LATEST", "step-00000100"]
    assert (folder / "LATEST").read_text() == "step-00000100\n"

    found = verify(written.path)
    assert found == written
    assert (found.step, found.pinned, found.facts) == (100, True, FACTS)
    arrays = read_arrays(found, "model")
    assert arrays["weight"].tolist() == [[100] * 3] * 2
    assert arrays["scale"].dtype == mx.bfloat16
    state = read_document(found, "state.json")
    assert state["label"] == "x"
    assert math.isnan(state["loss"])
    assert (found.path / "vocab.txt").read_text() == "[PAD]\n[UNK]\n"


def test_nothing_is_written_where_an_array_has_to_be_finite_and_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "checkpoints"
    arrays = {"a": mx.zeros(3), "b": mx.array([1.0, math.nan, math.inf, math.nan]), "c": mx.array(math.nan)}
    with pytest.raises(NotFiniteError) as found:
        write_checkpoint(folder, held(folder, snapshot(4, finite=arrays)))
    assert not folder.exists()
    assert (found.value.step, found.value.name) == (4, "b")
    assert (found.value.nan, found.value.infinite, found.value.array.shape) == (2, 1, (4,))
    fine = held(folder, snapshot(4, finite={"a": arrays["a"]}))
    assert names(write_checkpoint(folder, fine).path) == [MANIFEST, "model.safetensors", "state.json"]


def test_what_is_held_is_let_go_of_once_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also an array in two files, or in one and among those that have to be finite."""
    both, own, array = mx.arange(3.0), mx.ones(2), np.zeros(4, np.float32)
    arrays = {"model": {"a": both, "b": own}, "best": {"a": both, "c": array}}
    taken = held(tmp_path, snapshot(4, arrays=arrays, finite={"weight": both, "average": mx.zeros(5)}))
    alive = [weakref.ref(each) for each in (*taken.arrays["model"].values(), *taken.arrays["best"].values())]
    alive += [weakref.ref(each) for each in taken.finite.values()]
    seen: list[int] = []
    sync = writing.fsync_folder

    def counted(path: Path) -> None:
        seen.append(sum(each() is not None for each in alive))
        sync(path)

    monkeypatch.setattr(writing, "fsync_folder", counted)
    found = write_checkpoint(tmp_path, taken)
    assert seen[0] == 0
    assert read_arrays(found, "model")["a"].tolist() == read_arrays(found, "best")["a"].tolist() == [0, 1, 2]
    assert (read_arrays(found, "model")["b"].tolist(), read_arrays(found, "best")["c"].tolist()) == ([1, 1], [0] * 4)
    with pytest.raises(AttributeError):  # and nothing empty is written in its place
        write_checkpoint(tmp_path, taken)
    assert verify(found.path) == found


def test_what_is_not_held_can_be_written_again(tmp_path: Path) -> None:
    taken = snapshot(4)
    assert write_checkpoint(tmp_path / "1", taken).files == write_checkpoint(tmp_path / "2", taken).files


def test_the_manifest_is_plain_and_vouches_for_itself(tmp_path: Path) -> None:
    written = write_checkpoint(tmp_path, snapshot(7))
    manifest = json.loads((written.path / MANIFEST).read_text())
    assert manifest["format"] == 1
    assert manifest["step"] == 7
    assert manifest["files"]["state.json"]["size"] == (written.path / "state.json").stat().st_size
    assert manifest["digest"] == written.digest


def test_arrays_outlive_the_checkpoint_they_came_from(tmp_path: Path) -> None:
    found = write_checkpoint(tmp_path, snapshot(100, "old"))
    arrays = read_arrays(found, "model")
    write_checkpoint(tmp_path, snapshot(100, "new", arrays={"model": {"weight": mx.zeros((2, 3), dtype=mx.int32)}}))
    assert arrays["weight"].tolist() == [[100] * 3] * 2


def test_a_checkpoint_of_the_same_step_is_replaced(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, snapshot(100, "old"))
    written = write_checkpoint(tmp_path, snapshot(100, "new"))
    assert names(tmp_path) == ["LATEST", "step-00000100"]
    assert read_document(verify(written.path), "state.json")["label"] == "new"


def test_what_is_not_ours_makes_room_but_is_kept(tmp_path: Path) -> None:
    (tmp_path / "step-00000100").mkdir()
    (tmp_path / "step-00000100" / "thesis.txt").write_text("mine")
    write_checkpoint(tmp_path, snapshot(100))
    assert verify(tmp_path / "step-00000100").step == 100
    (kept,) = tmp_path.glob(".quarantine-step-00000100-*")
    assert (kept / "thesis.txt").read_text() == "mine"
    retire(tmp_path, Retention())
    assert (kept / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"documents": {"a/b.json": 1}}, "expected plain file names, each once, got 'a/b.json'"),
        ({"documents": {"../x.json": 1}}, "expected plain file names"),
        ({"documents": {".hidden": 1}}, "expected plain file names"),
        ({"documents": {MANIFEST: 1}}, "expected plain file names"),
        ({"documents": {"Model.safetensors": 1}}, "expected plain file names"),
        ({"arrays": {"": {}}}, "expected plain file names"),
        ({"documents": {"state.json": {"plugins": {"mine": {1, 2}}}}}, r"state\.json: plugins\.mine: expected a JSON"),
        ({"facts": {"path": Path("x")}}, r"facts\.path: expected a JSON value"),
        ({"arrays": {"model": {"w": np.zeros(2)}}}, "w: expected an array of"),
        ({"copies": {"vocab.txt": Path("nowhere")}}, "No such file or directory"),
    ],
)
def test_a_snapshot_that_cannot_be_kept(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_checkpoint(tmp_path, snapshot(50))
    with pytest.raises(CheckpointError, match=message) as caught:
        write_checkpoint(tmp_path, snapshot(100, **changes))
    assert "step 100" in str(caught.value)
    assert names(tmp_path) == ["LATEST", "step-00000050"]


def test_a_file_stands_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(CheckpointError, match="cannot write the checkpoint of step 1"):
        write_checkpoint(tmp_path / "x", snapshot(1))


def test_asking_for_what_it_has_not(tmp_path: Path) -> None:
    written = write_checkpoint(tmp_path, snapshot(100))
    with pytest.raises(
        CheckpointError, match=r"expected the file optimizer\.safetensors, but the checkpoint has model"
    ):
        read_arrays(written, "optimizer")
    with pytest.raises(CheckpointError, match=r"expected the file x\.json"):
        read_document(written, "x.json")
    spoil(written.path)  # after it was verified
    with pytest.raises(CheckpointError, match=r"state\.json: .*SHA-256"):
        read_document(written, "state.json")
    with pytest.raises(CheckpointError, match=r"gone: expected a finished checkpoint, but this is missing"):
        verify(tmp_path / "gone")


def test_the_disk_is_asked_in_the_right_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is synced before the manifest begins, all before the name is given, and the name before it counts."""
    done: list[tuple[str, str]] = []
    opened: dict[int, str] = {}
    open_, close, rename, replace = os.open, os.close, os.rename, os.replace

    def record_open(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        descriptor = open_(path, flags, *args, **kwargs)
        opened[descriptor] = Path(path).name
        if flags & os.O_CREAT:
            done.append(("create", Path(path).name))
        return descriptor

    def record_close(descriptor: int) -> None:
        opened.pop(descriptor, None)
        close(descriptor)

    monkeypatch.setattr(os, "open", record_open)
    monkeypatch.setattr(os, "close", record_close)
    monkeypatch.setattr(os, "fsync", lambda descriptor: done.append(("fsync", opened[descriptor])))
    monkeypatch.setattr(os, "rename", lambda a, b: (done.append(("rename", Path(b).name)), rename(a, b))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append(("replace", Path(b).name)), replace(a, b))[1])
    if sys.platform == "darwin":
        import fcntl

        monkeypatch.setattr(fcntl, "fcntl", lambda descriptor, _: done.append(("fsync", opened[descriptor])))
    write_checkpoint(tmp_path, snapshot(100))
    monkeypatch.undo()

    hidden = next(name for kind, name in done if name.startswith(".tmp-100-"))
    texts = [name for kind, name in done if name.endswith("-LATEST")]
    assert done == [
        ("create", "model.safetensors"),
        ("fsync", "model.safetensors"),
        ("create", "state.json"),
        ("fsync", "state.json"),
        ("fsync", hidden),
        ("create", MANIFEST),
        ("fsync", MANIFEST),
        ("fsync", hidden),
        ("rename", "step-00000100"),
        ("fsync", tmp_path.name),
        ("create", texts[0]),
        ("fsync", texts[0]),
        ("replace", "LATEST"),
        ("fsync", tmp_path.name),
    ]


# --- names -----------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**12))
@settings(max_examples=30, deadline=None)
def test_steps_and_names(step: int) -> None:
    assert step_of(checkpoint_path(Path("x"), step).name) == step


@pytest.mark.parametrize(
    "name",
    [
        "step-5",
        "step-5.bak",
        "old-step-900",
        "step-000000005",
        "step-00000005x",
        "xstep-00000005",
        "step--0000005",
        "step-0000000\N{ARABIC-INDIC DIGIT FIVE}",
        "step-00000005\n",
    ],
)
def test_names_that_are_none(name: str) -> None:
    assert step_of(name) is None


def test_scan_is_by_step_and_not_by_text(tmp_path: Path) -> None:
    for step in (99_999_999, 100_000_000, 3):
        checkpoint_path(tmp_path, step).mkdir()
    (tmp_path / "step-5.bak").mkdir()
    assert [path.name for path in scan(tmp_path)] == ["step-00000003", "step-99999999", "step-100000000"]
    assert scan(tmp_path / "nowhere") == []


# --- what a resume takes ---------------------------------------------------------------------------------------------


def test_nothing_was_ever_finished(tmp_path: Path) -> None:
    assert latest_valid(tmp_path / "nowhere", pytest.fail) is None
    (tmp_path / f".tmp-0-{'0' * 32}").mkdir()
    assert latest_valid(tmp_path, pytest.fail) is None


def test_the_hints_are_only_hints(tmp_path: Path) -> None:
    for step in (100, 200):
        write_checkpoint(tmp_path, snapshot(step))
    mark_best(tmp_path, 100)
    assert (tmp_path / "BEST").read_text() == "step-00000100\n"
    (tmp_path / "LATEST").write_text("step-00000900\n")
    found = latest_valid(tmp_path, pytest.fail)
    assert found is not None
    assert found.step == 200


def test_several_damaged_ones_are_set_aside(tmp_path: Path) -> None:
    for step in (100, 200, 300):
        write_checkpoint(tmp_path, snapshot(step))
    spoil(tmp_path / "step-00000200")
    spoil(tmp_path / "step-00000300")
    said: list[str] = []
    found = latest_valid(tmp_path, said.append)
    assert found is not None
    assert found.step == 100
    assert [name[:25] for name in names(tmp_path) if name.startswith(".q")] == [
        ".quarantine-step-00000200",
        ".quarantine-step-00000300",
    ]
    assert len(said) == 2
    assert all("state.json" in text for text in said)


def test_quarantined_ones_alone_are_no_fresh_start(tmp_path: Path) -> None:
    for step in (100, 200):
        write_checkpoint(tmp_path, snapshot(step))
    spoil(tmp_path / "step-00000200")
    latest_valid(tmp_path, lambda text: None)
    (tmp_path / "step-00000100").rename(tmp_path.parent / f"{tmp_path.name}-moved")
    with pytest.raises(CheckpointError, match="the only checkpoint cannot be trusted"):
        latest_valid(tmp_path, pytest.fail)


def test_killed_between_the_two_renames(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, snapshot(100, "old"))
    replaced = (tmp_path / "step-00000100").rename(tmp_path / f".replaced-step-00000100-{'a' * 32}")
    retire(tmp_path, Retention())  # nothing took its place, so it gets its name back
    assert not replaced.exists()
    assert [path.name for path in scan(tmp_path)] == ["step-00000100"]
    (tmp_path / "step-00000100").rename(replaced)
    found = latest_valid(tmp_path, pytest.fail)
    assert found is not None
    assert found.path == tmp_path / "step-00000100"
    assert verify(found.path) == found


def test_the_replaced_one_stands_in_for_a_damaged_successor(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, snapshot(100, "old"))
    (tmp_path / "step-00000100").rename(tmp_path / f".replaced-step-00000100-{'a' * 32}")
    write_checkpoint(tmp_path, snapshot(100, "new"))
    spoil(tmp_path / "step-00000100")
    said: list[str] = []
    retire(tmp_path, Retention(), say=said.append)
    found = latest_valid(tmp_path, said.append)
    assert found is not None
    assert read_document(found, "state.json")["label"] == "old"
    assert found.path == tmp_path / "step-00000100"
    assert len(said) == 2


def test_set_aside_what_is_later_than_the_one_resumed_from(tmp_path: Path) -> None:
    for step in (100, 200, 300):
        write_checkpoint(tmp_path, snapshot(step))
    said: list[str] = []
    set_aside(tmp_path, 100, said.append)
    assert len(said) == 2
    assert [path.name for path in scan(tmp_path)] == ["step-00000100"]
    write_checkpoint(tmp_path, snapshot(150))
    retire(tmp_path, Retention())
    assert [path.name for path in scan(tmp_path)] == ["step-00000100", "step-00000150"]
    assert len(list(tmp_path.glob(".superseded-step-*"))) == 2


# --- what stays ------------------------------------------------------------------------------------------------------


def filled(folder: Path, steps: range, pinned: tuple[int, ...] = ()) -> list[Checkpoint]:
    return [write_checkpoint(folder, snapshot(step), pinned=step in pinned) for step in steps]


@pytest.mark.parametrize(
    ("keep", "best", "pinned", "stays"),
    [
        (Retention(last=2, best=1), [], (), [70, 80]),
        (Retention(last=2, best=1), [10], (), [10, 70, 80]),
        (Retention(last=2, best=1), [80], (), [60, 70, 80]),  # the best takes no place of the last
        (Retention(last=2, best=1), [80, 70, 60], (), [60, 70, 80]),
        (Retention(last=3, best=2), [30, 80, 10], (), [30, 50, 60, 70, 80]),
        (Retention(last=2, best=2), [30, 30, 35, 10], (), [10, 30, 70, 80]),  # no checkpoint of step 35
        (Retention(last=2, best=1), [10], (20, 80), [10, 20, 60, 70, 80]),  # a pinned one takes no place either
        (Retention(last=2, best=1), [20, 10], (20,), [10, 20, 70, 80]),
        (Retention(last=1, best=1), [10], (), [10, 70, 80]),  # two sound ones and the best stay whatever is asked
        (Retention(last=0, best=0), [10], (), [10, 70, 80]),
        (Retention(last=100, best=100), [10], (), [10, 20, 30, 40, 50, 60, 70, 80]),
    ],
)
def test_roles_are_disjoint(
    keep: Retention, best: list[int], pinned: tuple[int, ...], stays: list[int], tmp_path: Path
) -> None:
    filled(tmp_path, range(10, 90, 10), pinned)
    gone = retire(tmp_path, keep, best)
    assert [step_of(path.name) for path in scan(tmp_path)] == stays
    assert sorted(stays + [step_of(path.name) or 0 for path in gone]) == list(range(10, 90, 10))
    assert all(verify(path) for path in scan(tmp_path))
    assert retire(tmp_path, keep, best) == []
    assert names(tmp_path) == ["LATEST", *(f"step-{step:08d}" for step in stays)]


def to_use(names: Any) -> dict[str, str]:
    return {name: name for name in names if name != "state.json"}


@pytest.mark.parametrize(
    ("keep", "best", "finished", "stays", "whole"),
    [
        (Retention(), [], False, [40, 50], [40, 50]),
        (Retention(), [50], False, [40, 50], [40, 50]),
        (Retention(), [10], False, [10, 40, 50], [40, 50]),
        (Retention(best=2), [20, 10], False, [10, 20, 40, 50], [40, 50]),
        (Retention(best=2), [20, 40], False, [20, 40, 50], [40, 50]),
        (Retention(whole=True), [10], False, [10, 40, 50], [10, 40, 50]),
        (Retention(last=2), [50], False, [30, 40, 50], [30, 40, 50]),
        (Retention(last=1), [50], False, [30, 40, 50], [30, 40, 50]),
        (Retention(last=3), [10], False, [10, 30, 40, 50], [30, 40, 50]),
        (Retention(), [10], True, [10, 50], [50]),
        (Retention(), [50], True, [50], [50]),
        (Retention(), [], True, [50], [50]),
        (Retention(last=1), [50], True, [40, 50], [40, 50]),
        (Retention(last=2), [10], True, [10, 40, 50], [40, 50]),
        (Retention(last=0, best=1), [10], True, [10], []),
        (Retention(last=0, best=1), [50], True, [50], []),
        (Retention(last=0, best=0), [10], True, [], []),
    ],
)
def test_the_best_is_kept_to_use_and_the_newest_whole(
    keep: Retention, best: list[int], finished: bool, stays: list[int], whole: list[int], tmp_path: Path
) -> None:
    filled(tmp_path, range(10, 60, 10))
    for _ in range(2 if stays else 1):  # nothing changes when it is asked again
        retire(tmp_path, keep, best, thinning=to_use, finished=finished)
        found = [verify(path) for path in scan(tmp_path)]
        assert [each.step for each in found] == stays
        assert [each.step for each in found if not each.lacks] == whole
        assert all(each.lacks in ((), ("state.json",)) for each in found)
    assert tmp_path.exists() == bool(stays)


@pytest.mark.parametrize("keep", [Retention(), Retention(last=2), Retention(last=1, best=3)])
def test_the_only_ones_stay_whole(keep: Retention, tmp_path: Path) -> None:
    """Where the best is all that there is, or one of two, it is what a resume goes on from."""
    for step in (10, 20):
        write_checkpoint(tmp_path, snapshot(step))
        retire(tmp_path, keep, [10], thinning=to_use)
        assert not any(verify(path).lacks for path in scan(tmp_path))


def test_a_thinned_one_is_made_of_the_same_files_and_says_what_it_lacks(tmp_path: Path) -> None:
    filled(tmp_path, range(10, 40, 10))
    inode = (tmp_path / "step-00000010" / "model.safetensors").stat().st_ino
    retire(tmp_path, Retention(), [10], thinning=to_use)
    thinned = verify(tmp_path / "step-00000010")
    assert thinned.lacks == ("state.json",) and thinned.facts == FACTS
    assert names(thinned.path) == [MANIFEST, "model.safetensors"]
    assert (thinned.path / "model.safetensors").stat().st_ino == inode
    found = latest_valid(tmp_path, pytest.fail)
    assert found is not None and found.step == 30
    for step in (20, 30):
        spoil(tmp_path / f"step-000000{step}")
    with pytest.raises(CheckpointError, match="none of the 2 checkpoints can be trusted"):
        latest_valid(tmp_path, lambda text: None)


def test_without_links_files_are_copied_and_held_against_their_digests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: Any, **__: Any) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(os, "symlink", no_links)
    filled(tmp_path, range(10, 40, 10))
    mark_best(tmp_path, 10)
    retire(tmp_path, Retention(), [10], thinning=to_use)
    assert verify(tmp_path / "step-00000010").lacks == ("state.json",)
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "step-00000010" / "model.safetensors").read_bytes())
    share_files(tmp_path, tmp_path / "model.safetensors")
    assert names(tmp_path) == ["BEST", "LATEST", "model.safetensors", *(f"step-000000{step}" for step in (10, 20, 30))]


def test_the_hints_follow_what_stays(tmp_path: Path) -> None:
    filled(tmp_path, range(10, 60, 10))
    mark_best(tmp_path, 20)
    assert (tmp_path / "best").readlink() == Path("step-00000020")
    assert best_of(tmp_path) == tmp_path / "step-00000020"
    retire(tmp_path, Retention(), [10, 20])
    assert (tmp_path / "BEST").read_text() == "step-00000010\n" and (tmp_path / "best").readlink() == Path(
        "step-00000010"
    )
    retire(tmp_path, Retention(last=2, best=0), [], finished=True)
    assert names(tmp_path) == ["LATEST", "step-00000040", "step-00000050"]
    assert best_of(tmp_path) is None


@pytest.mark.parametrize("what", ["file", "folder", "link"])
def test_what_stands_where_the_link_would_be_stays(what: str, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "run", snapshot(10))
    place, mine = tmp_path / "run" / "best", tmp_path / "mine"
    mine.mkdir()
    (mine / "x").write_text("mine")
    if what == "file":
        place.write_text("mine")
    elif what == "folder":
        mine.rename(place)
    else:
        place.symlink_to(mine)
    before = place.lstat()
    mark_best(tmp_path / "run", 10)
    retire(tmp_path / "run", Retention(last=0, best=0), [10], finished=True)
    assert place.lstat().st_ino == before.st_ino
    assert not (tmp_path / "run" / "BEST").exists()


def test_what_leads_nowhere_is_no_best(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, snapshot(10))
    for content in (b"step-00000099\n", b"../step-00000010\n", b"\xff", b"x" * 1000, b""):
        (tmp_path / "BEST").write_bytes(content)
        assert best_of(tmp_path) is None
    (tmp_path / "BEST").unlink()
    (tmp_path / "BEST").symlink_to(tmp_path / "LATEST")
    assert best_of(tmp_path) is None


def test_a_trial_leaves_nothing_and_is_swept(tmp_path: Path) -> None:
    for finished in (True, False):
        place = trial_place(tmp_path)
        write_checkpoint(place, snapshot(0))
        if finished:
            discard(place)
        else:
            (place / f".tmp-0-{'a' * 32}").mkdir()
            (place / f".tmp-0-{'a' * 32}" / "model.safetensors").write_bytes(b"x")
            sweep(tmp_path)
        assert names(tmp_path) == []


@pytest.mark.parametrize("last", [None, 0, 1, 3])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_the_two_newest_stay_whole_while_a_fit_runs(last: int | None, number: int, tmp_path: Path) -> None:
    """Whichever of them is the best: what a fit goes on from is never thinned."""
    for best in range(1, number + 1):
        folder = tmp_path / str(best)
        filled(folder, range(1, number + 1))
        retire(folder, Retention(last=last), [best], thinning=lambda names: {name: name for name in sorted(names)[1:]})
        whole = [step_of(path.name) for path in scan(folder) if not verify(path).lacks]
        assert set(whole) >= {number, max(1, number - 1)}
    thinning = {"thinning": lambda names: {name: name for name in sorted(names)[1:]}, "finished": True}
    for keep, stays in ((1, True), (0, False)):  # and what a finished one may go on from, where one is asked for
        filled(folder := tmp_path / f"finished-{keep}", range(1, 2))
        retire(folder, Retention(last=keep), [1], **thinning)  # type: ignore[arg-type]
        assert [not verify(path).lacks for path in scan(folder)] == [stays]


def test_damaged_ones_take_no_role(tmp_path: Path) -> None:
    filled(tmp_path, range(10, 60, 10))
    spoil(tmp_path / "step-00000050")
    spoil(tmp_path / "step-00000020")
    said: list[str] = []
    retire(tmp_path, Retention(last=2, best=1), [20, 10], said.append)
    assert [step_of(path.name) for path in scan(tmp_path)] == [10, 20, 30, 40, 50]
    assert len(said) == 2
    assert all("damaged since it was written" in text for text in said)


def test_nothing_of_others_is_removed(tmp_path: Path) -> None:
    filled(tmp_path, range(10, 60, 10))
    others = [
        tmp_path / "step-00000010" / "notes.txt",  # somebody wrote into a checkpoint of ours
        tmp_path / "step-00000005" / "thesis.txt",
        tmp_path / "old-step-900" / "x",
        tmp_path / ".tmp-mine" / "x",
        tmp_path / ".trash-step-00000001-mine" / "x",
        tmp_path / f".trash-step-00000001-{'a' * 32}" / "thesis.txt",
        tmp_path / f".tmp-3-{'a' * 32}" / "sub" / "x",
        tmp_path / f".quarantine-step-00000001-{'a' * 32}" / "x",
        tmp_path / f".tmp-{'a' * 32}-notes.txt",
    ]
    for path in others:
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text("mine")
    (tmp_path / "step-00000020" / ".DS_Store").write_text("macOS")
    stale = tmp_path / f".tmp-{'a' * 32}-LATEST"
    stale.write_text("step")
    link = tmp_path / f".tmp-4-{'a' * 32}"
    link.mkdir()
    (link / "linked").symlink_to(tmp_path / "step-00000050" / MANIFEST)
    gone = retire(tmp_path, Retention())
    assert [step_of(path.name) for path in gone] == [20, 30]
    assert [path.name for path in scan(tmp_path)] == [f"step-{step:08d}" for step in (5, 10, 40, 50)]
    assert all(path.read_text() == "mine" for path in others)
    assert not stale.exists()
    assert (link / "linked").is_symlink()
    assert verify(tmp_path / "step-00000050").step == 50


def test_sound_ones_are_not_hashed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path, range(10, 40, 10))
    hashed: list[Path] = []
    from stepbus.storage.checkpoints import verification

    original = verification.verify
    monkeypatch.setattr(verification, "verify", lambda path: (hashed.append(path), original(path))[1])
    retire(tmp_path, Retention())
    assert hashed == []
    os.utime(tmp_path / "step-00000030" / "state.json")
    retire(tmp_path, Retention())
    assert hashed == [tmp_path / "step-00000030"]


def test_a_manifest_that_was_changed_since_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path, range(10, 60, 10))
    read: list[Path] = []
    from stepbus.storage.checkpoints import removal

    original = removal.read_manifest
    monkeypatch.setattr(removal, "read_manifest", lambda path: (read.append(path), original(path))[1])
    manifest = tmp_path / "step-00000010" / MANIFEST
    manifest.write_text(manifest.read_text().replace('"pinned": false', '"pinned": true'))  # its digest is of before
    leaving = retire(tmp_path, Retention(last=1))
    assert [path.name for path in leaving] == ["step-00000020", "step-00000030"]
    assert names(manifest.parent) == [MANIFEST, "model.safetensors", "state.json"]  # ours no longer, so it stays
    assert [path for path in read if not path.name.startswith(".")] == [manifest.parent]


def test_what_is_gone_is_forgotten(tmp_path: Path) -> None:
    from stepbus.storage.checkpoints import verification

    for step in range(10, 110, 10):
        write_checkpoint(tmp_path, snapshot(step))
        retire(tmp_path, Retention(last=2))
    known = [path.name for path in verification._seen if path.parent == tmp_path]
    # The last write came before the last retirement; folders that had another name while they were written are gone.
    assert sorted(known) == ["step-00000080", "step-00000090", "step-00000100"]


def test_a_link_in_the_place_of_a_known_one_is_not_ours(tmp_path: Path) -> None:
    filled(tmp_path / "run", range(10, 60, 10))
    link = tmp_path / "run" / "step-00000010"
    link.rename(tmp_path / "elsewhere")
    link.symlink_to(tmp_path / "elsewhere")
    assert [path.name for path in retire(tmp_path / "run", Retention(last=1))] == ["step-00000020", "step-00000030"]
    assert link.is_symlink() and verify(tmp_path / "elsewhere").step == 10


# --- what differs ----------------------------------------------------------------------------------------------------


def changed(**at: Any) -> dict[str, Any]:
    """Return FACTS with values at dotted places; `...` removes."""
    facts: dict[str, Any] = json.loads(json.dumps(FACTS))
    for place, value in at.items():
        *path, last = place.split("__")
        below = facts
        for part in path:
            below = below.setdefault(part, {})
        if value is ...:
            del below[last]
        else:
            below[last] = value
    return facts


@pytest.mark.parametrize(
    ("now", "differences"),
    [
        (changed(), []),
        (changed(config__optimizer__learning_rate=1e-4), ["optimizer.learning_rate was 5e-05, is 0.0001"]),
        (changed(config__data__batch_size=16), ["data.batch_size was 32, is 16"]),
        (changed(config__data__batch_size=32.0), []),
        (changed(config__data__batch_size=True), ["data.batch_size was 32, is True"]),
        (changed(config__data__label=["a"]), ["data.label was ['a', 'b'], is ['a']"]),
        (changed(config__data__label=("a", "b")), []),
        (changed(config__training__max_steps=9), ["training.max_steps was None, is 9"]),
        (changed(config__optimizer__beta=0.9), ["optimizer.beta was not set, is 0.9"]),
        (changed(config__optimizer__type=...), ["optimizer.type was 'adamw', is not set"]),
        (changed(config_digest="0"), []),
        (changed(data__train="xyz"), ["data.train was 'abc', is 'xyz'"]),
        (changed(config__environment__output_dir="other"), ["environment.output_dir was 'runs', is 'other'"]),
        (
            changed(plugins__early_stopping__version="0.2.0"),
            ["plugins.early_stopping was stepbus 0.1.0, is stepbus 0.2.0"],
        ),
        (
            changed(plugins__early_stopping=..., config__plugins__early_stopping=...),
            ["plugins.early_stopping was stepbus 0.1.0, is off"],
        ),
        (
            changed(plugins__ema={"distribution": "ema", "version": "3"}, config__plugins__ema={"decay": 0.9}),
            ["plugins.ema was off, is ema 3"],
        ),
        (changed(config__plugins__early_stopping__patience=5), ["plugins.early_stopping.patience was 3, is 5"]),
        (
            changed(config__training__seed=1, config__data__batch_size=8, run="r2"),
            ["data.batch_size was 32, is 8", "run was 'r1', is 'r2'", "training.seed was 42, is 1"],
        ),
    ],
)
def test_differences_have_names(now: dict[str, Any], differences: list[str]) -> None:
    assert compare_facts(FACTS, now) == differences


def test_differences_that_may_be_ignored() -> None:
    now = changed(
        config__environment__output_dir="other",
        plugins__progress=...,
        config__plugins__progress=...,
        config__plugins__early_stopping__patience=5,
    )
    assert compare_facts(FACTS, now, ("environment.output_dir", "plugins.progress")) == [
        "plugins.early_stopping.patience was 3, is 5"
    ]
    assert compare_facts(FACTS, now, ("environment", "plugins")) == []
    assert len(compare_facts(FACTS, now, ("environment.output", "plug"))) == 3


def test_another_order_of_the_plugins_is_a_difference() -> None:
    def facts(*names: str) -> dict[str, Any]:
        return {"plugins": {name: {"distribution": "mine", "version": "1"} for name in names}}

    saved = facts("first", "a", "b", "c", "last")
    assert compare_facts(saved, facts("first", "c", "a", "b", "last")) == [
        "the order of the plugins was a, b, c, is c, a, b"
    ]
    assert compare_facts(saved, facts("first", "c", "a", "b", "last"), ["plugins.c"]) == []
    assert compare_facts(saved, facts("first", "a", "new", "b", "c", "last")) == ["plugins.new was off, is mine 1"]


def test_facts_that_went_through_a_checkpoint_are_the_same(tmp_path: Path) -> None:
    facts = FACTS | {"config": {"betas": (0.9, 0.999), "limit": math.inf, "odd": math.nan, "none": None, "empty": {}}}
    saved = verify(write_checkpoint(tmp_path, snapshot(1, facts=facts)).path).facts
    assert compare_facts(saved, facts) == []


def test_another_plan_of_fits_is_told_by_their_names() -> None:
    folds = {"fits": [{"name": f"fold-{number}", "scope": {"fold": number}} for number in range(3)]}
    assert compare_facts({"fits": [{"name": "fit", "scope": {}}]}, folds) == [
        "fits was fit, is fold-0, fold-1 and fold-2"
    ]


def test_a_limit_on_the_size_of_a_file_is_no_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, arrays: object, **options: object) -> None:
        raise OSError(27, "File too large", str(path))

    monkeypatch.setattr("stepbus.storage.checkpoints.writing.write_tensors", refused)
    with pytest.raises(CheckpointError, match=r"step 3: File too large; a limit .* raise it \(ulimit -f\)$") as caught:
        write_checkpoint(tmp_path / "checkpoints", Snapshot(3, arrays={"model": {}}))
    assert "make room" not in str(caught.value) and ".tmp-" not in str(caught.value)
