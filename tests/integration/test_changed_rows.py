"""A resume on other rows is refused by fit, set, file and row, before anything is trained."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepbus import CheckpointError, create_trainer, hookimpl
from stepbus.cli.main import main

Tree = dict[str, Any]


class Steps:
    """Counts updates, and ends the run at one of them."""

    scope = "run"
    affects_result = False

    def __init__(self, falls_at: int = 0) -> None:
        self.done, self.falls_at = 0, falls_at

    @hookimpl
    def on_step_end(self) -> None:
        self.done += 1
        if self.done == self.falls_at:
            raise KeyboardInterrupt


def cut(tree: Tree, at: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        create_trainer(config=tree, plugins=[Steps(at)]).train()


def refused(tree: Tree, *words: str, **options: Any) -> str:
    steps = Steps()
    with pytest.raises(CheckpointError) as caught:
        create_trainer(config=tree, plugins=[steps]).train(resume=True, **options)
    assert steps.done == 0
    said = str(caught.value)
    for word in words:
        assert word in said, said
    return said


def rewrite(path: str, change: Callable[[list[str]], list[str]]) -> None:
    lines = Path(path).read_text().splitlines()
    Path(path).write_text("\n".join(change(lines)) + "\n")


def folded(tiny_config: Callable[..., Tree], test: str | None = None, **more: Any) -> Tree:
    saves = {"save_strategy": "steps", "save_steps": 2}
    plugins = {"progress": False, "checkpoint": saves, "cross_validation": {"folds": 3, **more}}
    return tiny_config(data={"validation": None, "test": test}, training={"max_steps": 4}, plugins=plugins)


def flip(line: str) -> str:
    text, _, label = line.rpartition(",")
    return f"{text},{1 - int(label)}"


CHANGES: dict[str, tuple[Callable[[list[str]], list[str]], str]] = {
    "a label": (
        lambda lines: [*lines[:13], flip(lines[13]), *lines[14:]],
        ":14 is another row than before (1 of",
    ),
    "a text": (lambda lines: [*lines[:13], "the " + lines[13], *lines[14:]], ":14 is another row than before (1 of"),
    "more rows": (lambda lines: [*lines, lines[1], lines[2]], "2 rows from {}:46 on are new"),
    "fewer rows": (lambda lines: lines[:-3], "3 rows are no more there"),
    "another order": (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], "train.csv:2"),
}


@pytest.mark.parametrize("folds", [False, True])
@pytest.mark.parametrize("done", [False, True])
def test_changed_training_rows(folds: bool, done: bool, tiny_config: Callable[..., Tree]) -> None:
    saves = {"progress": False, "checkpoint": {"save_strategy": "steps", "save_steps": 2}}
    tree = folded(tiny_config) if folds else tiny_config(training={"max_steps": 4}, plugins=saves)
    if done:
        create_trainer(config=tree, plugins=[Steps()]).train()
    else:
        cut(tree, 7 if folds else 3)
    file = Path(tree["data"]["train"])
    train = file.read_text()
    for edit, words in CHANGES.values():
        rewrite(str(file), edit)
        said = refused(tree, "this run began with other rows", words.format(file))
        assert ("fold-1: " if folds else "fit: ") in said
        if folds:  # what is finished was finished with other rows, and cannot be combined with any of these
            refused(tree, "fold-1 was done with other train rows than the plan gives it now", allow_changed=True)
        file.write_text(train)
    create_trainer(config=tree, plugins=[Steps()]).train(resume=True)


def test_changed_validation_and_test_rows(tiny_config: Callable[..., Tree], tmp_path: Path) -> None:
    shutil.copy(tiny_config()["data"]["validation"], tmp_path / "test.csv")
    tree = folded(tiny_config, str(tmp_path / "test.csv"))
    cut(tree, 7)
    rewrite(tree["data"]["test"], lambda lines: [*lines[:5], "the " + lines[5], *lines[6:]])
    refused(tree, f"fold-1: {tmp_path}/test.csv:6 is another row than before (1 of 64 differ)")
    tree = tiny_config(training={"max_steps": 4}, environment={"output_dir": str(tmp_path / "one")})
    create_trainer(config=tree).train()
    rewrite(tree["data"]["validation"], lambda lines: [*lines[:8], flip(lines[8]), *lines[9:]])
    refused(tree, "fit: ", "dev.csv:9 is another row than before (1 of 64 differ)")


def test_weights(tiny_config: Callable[..., Tree]) -> None:
    tree = tiny_config(training={"max_steps": 4}, data={"weight": "weight", "validation": None})
    rewrite(tree["data"]["train"], lambda lines: [lines[0] + ",weight", *(line + ",1" for line in lines[1:])])
    create_trainer(config=tree).train()
    rewrite(tree["data"]["train"], lambda lines: [*lines[:3], lines[3][:-1] + "2", *lines[4:]])
    refused(tree, "train.csv:4 is another row than before (1 of 44 differ)")


def test_what_nobody_reads_may_change(tiny_config: Callable[..., Tree]) -> None:
    tree = folded(tiny_config)
    cut(tree, 7)
    rewrite(tree["data"]["train"], lambda lines: [lines[0] + ",note", *(line + ",x" for line in lines[1:])])
    assert create_trainer(config=tree, plugins=[Steps()]).train(resume=True).status == "ok"


def test_the_same_rows_from_a_frame(tiny_config: Callable[..., Tree]) -> None:
    tree = folded(tiny_config)
    cut(tree, 7)
    frame = pd.read_csv(tree["data"]["train"])
    tree["data"]["train"] = None
    assert create_trainer(config=tree, plugins=[Steps()]).train(frame, resume=True).status == "ok"


def test_other_folds_are_not_trained_on_rows_that_are_held_out_now(tiny_config: Callable[..., Tree]) -> None:
    """Unfinished folds: their checkpoints have seen what another seed holds out."""
    cut(folded(tiny_config, seed=1), 3)
    other = folded(tiny_config, seed=2)
    refused(
        other, "began with other settings", "plugins.cross_validation.seed was 1, is 2", "the rows of fold-1 are others"
    )
    said = refused(other, "the checkpoints of fold-1 have trained on rows that are held out now: ", allow_changed=True)
    held = int(said.partition("now: ")[2].partition(" validation rows (")[0])
    assert 0 < held < 15
    run = Path(other["environment"]["output_dir"])
    shutil.rmtree(run / "fits" / "fold-1")
    assert create_trainer(config=other, plugins=[Steps()]).train(resume=True, allow_changed=True).status == "ok"


def test_another_validation_split_of_one_fit(tiny_config: Callable[..., Tree]) -> None:
    saves = {"progress": False, "checkpoint": {"save_strategy": "steps", "save_steps": 2}}

    def tree(fraction: float) -> Tree:
        return tiny_config(training={"max_steps": 4}, data={"validation": fraction}, plugins=saves)

    cut(tree(0.1), 3)
    refused(tree(0.3), "have trained on rows that are held out now: ", allow_changed=True)
    assert create_trainer(config=tree(0.1), plugins=[Steps()]).train(resume=True).status == "ok"


class Seeds:
    """Gives the fit another seed and other settings than the configuration says."""

    scope = "run"
    seed, rate = 5, 1e-3

    @hookimpl
    def expand_fits(self, fits: list[Any]) -> list[Any]:
        from attrs import evolve

        return [evolve(fit, seed=self.seed, overrides={"optimizer.learning_rate": self.rate}) for fit in fits]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 6}, "fit: seed was 5, is 6"),
        ({"rate": 1e-4}, "fit: overrides.optimizer.learning_rate was 0.001, is 0.0001"),
    ],
)
def test_a_fit_that_is_another_is_not_taken_over_silently(
    change: dict[str, Any], words: str, tiny_config: Callable[..., Tree]
) -> None:
    tree = tiny_config(training={"max_steps": 2})
    create_trainer(config=tree, plugins=[Seeds]).train()
    before = {name: getattr(Seeds, name) for name in change}
    try:
        for name, value in change.items():
            setattr(Seeds, name, value)
        with pytest.raises(CheckpointError, match=words):
            create_trainer(config=tree, plugins=[Seeds]).train(resume=True)
    finally:
        for name, value in before.items():
            setattr(Seeds, name, value)
    create_trainer(config=tree, plugins=[Seeds]).train(resume=True)


def test_what_is_written_down(tiny_config: Callable[..., Tree], tmp_path: Path) -> None:
    tree = folded(tiny_config, seed=1)
    tree["data"]["weight"] = "weight"
    rewrite(tree["data"]["train"], lambda lines: [lines[0] + ",weight", *(line + ",0.5" for line in lines[1:])])
    cut(tree, 1)  # before any update of the second fold, and before any checkpoint
    assert not (tmp_path / "run" / "fits" / "fold-2").exists()
    folder = tmp_path / "run" / "fits" / "fold-1"
    said = json.loads((folder / "fit.json").read_text())
    assert (said["fit"], said["scope"], said["seed"], said["after"]) == ("fold-1", {"fold": 0}, 42, [])
    assert said["roles"] == {"train": ["train"], "validation": ["stop", "score"]}
    assert said["sets"]["train"]["sources"] == [{"name": tree["data"]["train"], "key": said_key(tree)}]
    with np.load(folder / "rows.npz", allow_pickle=False) as rows:
        places = np.concatenate([rows["train/row"], rows["validation/row"]])
        assert sorted(places.tolist()) == list(range(44))
        assert (rows["train/weights"] == 0.5).all()
        assert len(rows["train/mark"]) == said["sets"]["train"]["rows"]


def said_key(tree: Tree) -> str:
    from stepbus.config.load import load_config
    from stepbus.text.rows.table import read_rows

    return read_rows(tree["data"]["train"], name="train", config=load_config(tree).data.settings).source_key


def test_the_command_line_says_it_and_nothing_is_lost(
    tiny_config: Callable[..., Tree], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = folded(tiny_config)
    (tmp_path / "run.json").write_text(json.dumps(tree))
    assert main(["train", str(tmp_path / "run.json")]) == 0
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    rewrite(tree["data"]["train"], CHANGES["a label"][0])
    capsys.readouterr()
    assert main(["train", str(tmp_path / "run.json"), "--resume"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        f"stepbus: {tmp_path}/run: this run began with other rows, so resuming would not be exact:\n"
    )
    assert f"fold-1: {tmp_path}/train.csv:14 is another row than before" in said
    assert {path: path.read_bytes() for path in before} == before


DAMAGES: dict[str, Callable[[Path], object]] = {
    "emptied": lambda path: path.write_bytes(b""),
    "a bit": lambda path: path.write_bytes(
        path.read_bytes()[:60] + bytes([path.read_bytes()[60] ^ 1]) + path.read_bytes()[61:]
    ),
    "removed": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a link": lambda path: (path.rename(path.with_name("x")), path.symlink_to("x")),
    "no JSON": lambda path: path.write_text("[]"),
}


@pytest.mark.parametrize("name", ["fit.json", "rows.npz"])
def test_damage_is_one_sentence_and_its_mend_helps(name: str, tiny_config: Callable[..., Tree], tmp_path: Path) -> None:
    tree = folded(tiny_config)
    cut(tree, 7)
    shutil.copytree(tmp_path / "run", tmp_path / "kept")
    for damage in DAMAGES.values():
        for fold in ("fold-1", "fold-2"):  # one that is done, and one that is not
            shutil.rmtree(tmp_path / "run")
            shutil.copytree(tmp_path / "kept", tmp_path / "run")
            folder = tmp_path / "run" / "fits" / fold
            damage(folder / name)
            said = refused(tree, f"{folder / name}: ", f"or remove {folder} to do this fit again")
            assert "\n" not in said
    shutil.rmtree(folder)
    assert create_trainer(config=tree, plugins=[Steps()]).train(resume=True).status == "ok"


def test_the_description_of_another_fit(tiny_config: Callable[..., Tree], tmp_path: Path) -> None:
    tree = folded(tiny_config)
    create_trainer(config=tree, plugins=[Steps()]).train()
    one, two = (tmp_path / "run" / "fits" / name for name in ("fold-1", "fold-2"))
    shutil.copy(one / "fit.json", two / "fit.json")
    refused(tree, f"{two}/fit.json: expected what fold-2 was begun with, got a damaged file (it is that of fold-1)")


def test_what_ends_before_its_first_update_leaves_nothing(tiny_config: Callable[..., Tree], tmp_path: Path) -> None:
    class Falls:
        @hookimpl
        def on_fit_start(self) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create_trainer(config=tiny_config(), plugins=[Falls]).train()
    assert not (tmp_path / "run").exists()
