"""Checkpoints: what is written comes back, what stays and goes, what a resume takes and compares."""

from __future__ import annotations

import json
import math
import os
import sys
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
    Snapshot,
    checkpoint_path,
    compare_facts,
    latest_valid,
    mark_best,
    read_arrays,
    read_document,
    retire,
    scan,
    set_aside,
    step_of,
    verify,
    write_checkpoint,
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
    retire(tmp_path, Retention())  # nothing took its place, so it stays
    assert replaced.is_dir()
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
