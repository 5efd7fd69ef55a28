"""What killed runs left: swept by exact names, a lone model put back, and what is not ours never touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stepbus import CheckpointError
from stepbus.storage.carrying import carry_over
from stepbus.storage.leftovers import is_leftover, put_back, sweep

A, B = "a" * 32, "0123456789abcdef" * 2


def model(folder: Path, word: str = "new") -> Path:
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "tokenizer.json", "vocab.txt", "stepbus.json", ".DS_Store"):
        (folder / name).write_text(word)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("place", [".", "fits/fold-1"])
def test_files_and_models_that_were_being_written_are_removed(place: str, tmp_path: Path) -> None:
    folder = tmp_path / place
    model(folder / "model")
    for name in ("history.jsonl", "run.json", "out_of_fold.csv", "a\nb"):
        (folder / f".tmp-{A}-{name}").write_text("half")
    model(folder / f".tmp-model-{A}")
    model(folder / f".old-model-{B}", "old")
    (folder / f".tmp-model-{B}").mkdir()
    sweep(tmp_path)
    assert names(folder) == ["model"]
    assert (folder / "model" / "config.json").read_text() == "new"


def test_a_model_that_gave_way_to_none_is_put_back(tmp_path: Path) -> None:
    model(tmp_path / f".tmp-model-{A}")
    model(tmp_path / f".old-model-{B}", "old")
    said: list[str] = []
    sweep(tmp_path, said.append)
    assert names(tmp_path) == ["model"]
    assert (tmp_path / "model" / "config.json").read_text() == "old"
    assert said == [f"{tmp_path / 'model'}: put back after a kill that came before its successor had this name"]


def test_the_newest_is_put_back_and_only_where_the_name_is_free(tmp_path: Path) -> None:
    for age, name in enumerate((A, B, "b" * 32)):
        path = model(tmp_path / f".old-my[model]-{name}", f"age {age}")
        os.utime(path, ns=(10**18, 10**18 - age % 2 - (age == 2) * 5))  # a nanosecond between the first two
    place = tmp_path / "my[model]"
    assert put_back(place, whatever_it_holds=True)
    assert (place / "config.json").read_text() == "age 0"
    assert not put_back(place, whatever_it_holds=True)
    assert not put_back(tmp_path / "missing" / "model", whatever_it_holds=True)


def test_files_of_the_users_decide_only_where_nobody_is_about_to_write(tmp_path: Path) -> None:
    (model(tmp_path / f".old-model-{A}") / "README.md").write_text("mine")
    assert not put_back(tmp_path / "model", whatever_it_holds=False)
    assert put_back(tmp_path / "model", whatever_it_holds=True)
    assert (tmp_path / "model" / "README.md").read_text() == "mine"


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    kept = [
        f".tmp-{A[:-1]}-run.json",  # 31 digits
        f".tmp-{A}0-run.json",
        f".tmp-{A.upper()}-run.json",
        f".tmp-{A}-",
        f"x.tmp-{A}-run.json",
        f"tmp-{A}-run.json",
        ".tmp-notes",
        "history.jsonl",
    ]
    for name in kept:
        (tmp_path / name).write_text("mine")
    folders = [f".tmp-{A}-run.json", f".tmp-models-{A}", f".old-model-{A}x", f".tmp-model-{A[:-1]}"]
    for name in folders:
        (tmp_path / name).mkdir()
    sweep(tmp_path)
    assert names(tmp_path) == sorted([*kept, *folders])


@pytest.mark.parametrize("foreign", ["notes.md", "sub", "link.json", ".hidden.json"])
def test_a_folder_with_anything_foreign_in_it_stays_whole(foreign: str, tmp_path: Path) -> None:
    for name in (f".tmp-model-{A}", f".old-model-{B}"):
        path = model(tmp_path / name) / foreign
        if foreign == "sub":
            path.mkdir()
        elif foreign == "link.json":
            path.symlink_to("config.json")
        else:
            path.touch()
        assert not is_leftover(tmp_path / name)
    before = {name: names(tmp_path / name) for name in names(tmp_path)}
    sweep(tmp_path)
    assert {name: names(tmp_path / name) for name in names(tmp_path)} == before


def test_what_was_carried_over_into_the_model_holds_no_leftover_back(tmp_path: Path) -> None:
    """Killed after the files of somebody were linked into the new model: the old one and the unfinished one go."""
    new = model(tmp_path / "model")
    (new / "README.md").write_text("mine")
    (new / "cards").mkdir()
    (new / "cards" / "card.md").write_text("mine too")
    (new / "latest").symlink_to("README.md")
    for name in (f".tmp-model-{A}", f".old-model-{B}"):
        carry_over(new, model(tmp_path / name))
        assert is_leftover(tmp_path / name)
    (tmp_path / f".old-model-{B}" / "cards" / "later.md").write_text("only here")
    sweep(tmp_path)
    assert names(tmp_path) == [f".old-model-{B}", "model"]
    assert (tmp_path / f".old-model-{B}" / "cards" / "later.md").read_text() == "only here"
    assert (new / "cards" / "card.md").read_text() == "mine too"
    (tmp_path / f".old-model-{B}" / "cards" / "later.md").unlink()
    sweep(tmp_path)
    assert names(tmp_path) == ["model"]
    assert sorted(path.name for path in new.rglob("*.md")) == ["README.md", "card.md"]


def test_links_are_never_followed(tmp_path: Path) -> None:
    far = tmp_path / "far"
    target = model(far / "target")
    (far / "file").write_text("mine")
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / f".tmp-{A}-run.json").symlink_to(far / "file")
    (run / f".tmp-model-{A}").symlink_to(target)
    (run / f".old-model-{A}").symlink_to(target)
    for name in (f".tmp-5-{A}", f".trash-step-5-{A}", f".tmp-{A}-LATEST"):
        (run / "checkpoints" / name).symlink_to(target)
    (far / "fits" / "fold-1").mkdir(parents=True)
    (far / "fits" / "fold-1" / f".tmp-{A}-run.json").touch()
    (run / "fits").symlink_to(far / "fits")
    before = names(run), names(run / "checkpoints"), names(target)
    sweep(run)
    assert (names(run), names(run / "checkpoints"), names(target)) == before
    assert names(far / "fits" / "fold-1") == [f".tmp-{A}-run.json"]


def test_checkpoints_are_swept_too(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "fits" / "fold-1"):
        folder = place / "checkpoints"
        (folder / f".tmp-5-{A}").mkdir(parents=True)
        (folder / f".tmp-5-{A}" / "model.safetensors").touch()
        (folder / f".trash-step-00000004-{A}").mkdir()
        (folder / f".quarantine-step-00000003-{A}").mkdir()
        (folder / f".tmp-{A}-LATEST").touch()
    sweep(tmp_path)
    for place in (tmp_path, tmp_path / "fits" / "fold-1"):
        assert names(place / "checkpoints") == [f".quarantine-step-00000003-{A}"]


def test_what_the_file_system_refuses_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f".tmp-{A}-run.json").touch()

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(CheckpointError, match=r"run\.json: what a killed run left cannot be removed \(Permission den"):
        sweep(tmp_path)
