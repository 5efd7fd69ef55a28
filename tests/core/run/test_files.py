"""Whose the files in a folder are."""

from __future__ import annotations

import os
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stepbus.base.errors import PluginError
from stepbus.run import files as run_files
from stepbus.run import folders as run_folders
from stepbus.run.files import note_writes, problems
from stepbus.storage import exports
from stepbus.storage.carrying import carry_over
from stepbus.storage.digests import sealed, unsealed
from stepbus.storage.durable import to_json
from stepbus.text.tokens.encode import TOKENIZER_FILES


def run_in(folder: Path, *writes: str, fits: tuple[str, ...] = ("fit",)) -> Any:
    """What of a run is looked at."""
    plugin = SimpleNamespace(writes=writes)
    return SimpleNamespace(
        directory=folder,
        config=SimpleNamespace(environment=SimpleNamespace(output_dir=str(folder))),
        members=[SimpleNamespace(plugin=plugin, label="mine"), SimpleNamespace(plugin=object(), label="other")],
        fits=fits,
        directory_of=lambda fit: folder / "fits" / fit,
    )


def ours(folder: Path, **more: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(to_json(sealed({"id": "x", "facts": {}, **more})))
    return folder


def named(run: Any) -> list[str]:
    found = problems(run, Path(run.config.environment.output_dir))
    assert all(problem.path == "environment.output_dir" for problem in found)
    assert all("expected no file of yours where the run writes, got " in problem.message for problem in found)
    return [problem.message.partition(", got ")[2].partition(";")[0] for problem in found]


FOREIGN: dict[str, Callable[[Path], object]] = {
    "config.yaml": lambda path: path.write_text("mine"),
    "result.json": lambda path: path.write_text("mine"),
    "predictions.npz": lambda path: path.write_text("mine"),
    "history.csv": lambda path: path.write_text("mine"),
    "out_of_fold-member-1.csv": lambda path: path.write_text("mine"),
    "run.json": lambda path: path.write_text("{}"),
    ".lock": lambda path: path.write_text("mine"),
    "model": lambda path: path.symlink_to("/"),
    "checkpoints": lambda path: (path / "step-00000001").mkdir(parents=True),
    "fits": lambda path: (path / "x").mkdir(parents=True),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_new_run_replaces_nothing_of_the_users(name: str, tmp_path: Path) -> None:
    FOREIGN[name](tmp_path / name)
    assert named(run_in(tmp_path, "history.*", "out_of_fold*.csv")) == [str(tmp_path / name)]


def test_what_no_run_writes_may_stay(tmp_path: Path) -> None:
    for name in ("train.csv", "predictions.csv", "history.csv", "notes.md"):
        (tmp_path / name).write_text("mine")
    for name in ("model", "checkpoints", "fits", "data"):
        (tmp_path / name).mkdir()
    (tmp_path / ".lock").write_text("4711\n")  # of a run that was killed before it wrote its run file
    (tmp_path / "disk").mkdir()
    (tmp_path / "checkpoints").rmdir()
    (tmp_path / "checkpoints").symlink_to("disk")
    assert named(run_in(tmp_path)) == []
    assert named(run_in(tmp_path / "none")) == []


def test_a_run_file_that_no_run_wrote_is_named_although_the_next_folder_is_free(tmp_path: Path) -> None:
    ours(tmp_path / "out")
    ours(tmp_path / "out-2")
    (tmp_path / "out-2" / "run.json").write_text('{"distance": 10}')
    run = run_in(tmp_path / "out")
    run.directory = run_folders.free_folder(tmp_path / "out")
    assert run.directory == tmp_path / "out-3"
    assert named(run) == [str(tmp_path / "out-2" / "run.json")]


@pytest.mark.parametrize("fits", [("fit",), ("fold-1", "fold-2")])
def test_a_resumed_run_knows_its_files(fits: tuple[str, ...], tmp_path: Path) -> None:
    run = run_in(ours(tmp_path, writes=["history.csv"]), "history.csv", "mine.csv", fits=fits)
    place = run.directory_of(fits[-1])
    (place / "model").mkdir(parents=True)
    for name in ("config.yaml", "history.csv"):
        (place / name).write_text("ours")
    assert named(run) == []
    (place / "mine.csv").write_text("of somebody before that plugin was switched on")
    (place / "model" / "thesis.txt").write_text("years of work")
    assert named(run) == [str(place / "mine.csv")]  # the thesis is carried over
    (place / "model" / "config.json").write_text("of another model")
    assert named(run) == [str(place / "mine.csv"), str(place / "model")]
    for name in ("stepbus.json", "config.json"):
        (place / "model" / name).write_text("{}")
    (place / "mine.csv").unlink()
    assert named(run) == []
    note_writes(run)
    (place / "mine.csv").write_text("ours, since that plugin is on")
    assert named(run) == []
    known = unsealed((tmp_path / "run.json").read_bytes())
    assert known == {"id": "x", "facts": {}, "writes": ["history.csv", "mine.csv"], "digest": known["digest"]}


def test_a_run_of_before_such_a_list_takes_all_names_for_its_own(tmp_path: Path) -> None:
    (ours(tmp_path) / "history.csv").write_text("ours")
    assert named(run_in(tmp_path, "history.csv")) == []


def test_what_a_plugin_writes_must_be_names(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    run.members[0].plugin.writes = "history.csv"
    with pytest.raises(PluginError, match=r"mine: expected writes = \(\"name\", …\), got 'history\.csv'"):
        problems(run, Path(run.config.environment.output_dir))


@pytest.mark.parametrize("links", [True, False])
def test_everything_is_carried_over(links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    (old / "notes" / "deep").mkdir(parents=True)
    new.mkdir()
    (old / "notes" / "deep" / "a.txt").write_text("a")
    (old / "README.md").write_text("mine")
    (old / "README.md").chmod(0o600)
    (old / "dangling").symlink_to("/nowhere/at/all")
    (old / "config.json").write_text("old")
    (old / "left.json").write_text("old")
    (new / "config.json").write_text("new")
    if not links:

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError

        monkeypatch.setattr("os.link", refuse)
    carry_over(old, new, frozenset({"left.json"}))
    carry_over(old, new, frozenset({"left.json"}))  # twice is once
    found = sorted(str(path.relative_to(new)) for path in new.rglob("*"))
    assert found == ["README.md", "config.json", "dangling", "notes", "notes/deep", "notes/deep/a.txt"]
    assert (new / "README.md").read_text() == "mine"
    assert (new / "README.md").stat().st_mode & 0o777 == 0o600
    assert os.readlink(new / "dangling") == "/nowhere/at/all"  # noqa: PTH115 - a Path hides what text shows
    assert (new / "config.json").read_text() == "new"
    assert (old / "README.md").samefile(new / "README.md") == links


def test_one_name_for_one_file() -> None:
    assert (run_folders.RUN_FILE, exports.DESCRIPTION) == (run_files.RUN_FILE, run_files.DESCRIPTION)


def test_whatever_a_model_brings_is_known_by_its_name() -> None:
    names = {"config.json", "stepbus.json", "model.safetensors", "model.safetensors.index.json", *TOKENIZER_FILES}
    assert [name for name in names if not any(fnmatchcase(name, pattern) for pattern in run_files.OF_MODELS)] == []
