"""What a run leaves on disk, and what it takes while it runs: whole checkpoints, thinned ones, models, links."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from stepbus import CheckpointError, create_model, create_trainer, hookimpl, open_trainer
from stepbus.storage.checkpoints import read_manifest, scan, verify

Tree = Callable[..., dict[str, Any]]
FOLDS: dict[str, Any] = {
    "plugins": {"progress": False, "cross_validation": {"folds": 2}},
    "data": {"validation": None},
    "training": {"num_epochs": 1},
}
TO_USE = {
    "before.npz",
    "config.json",
    "lineage.npz",
    "manifest.json",
    "model.safetensors",
    "stepbus.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
}


def train(tree: dict[str, Any], *plugins: Any, **options: Any) -> Any:
    return create_trainer(config=tree, plugins=plugins).train(**options)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def used(folder: Path) -> int:
    """Return the bytes of a folder's files, each once, however many names it has."""
    found = {(each.st_dev, each.st_ino): each.st_size for each in (path.lstat() for path in folder.rglob("*"))}
    return sum(found.values())


class Looks:
    """Keeps the names in the folder of checkpoints, and which are whole, at each boundary."""

    affects_result = False
    scope = "run"

    def __init__(self) -> None:
        self.seen: dict[int, dict[str, bool]] = {}
        self.told: list[Path] = []
        self.begun: list[list[str]] = []  # what lies there when the first update begins, of each fit

    @hookimpl
    def on_epoch_start(self, trainer: Any, state: Any) -> None:
        if state.step == 0:
            folder = trainer.directory / "checkpoints"
            self.begun.append(names(folder) if folder.exists() else [])

    @hookimpl
    def on_checkpoint(self, trainer: Any, state: Any, checkpoint: Path) -> None:
        assert verify(checkpoint).step <= state.step
        self.told.append(checkpoint)
        folder = trainer.directory / "checkpoints"
        self.seen[verify(checkpoint).step] = {path.name[-2:]: not verify(path).lacks for path in scan(folder)}


@pytest.fixture
def worse(tiny_config: Tree) -> dict[str, Any]:
    """A configuration of three epochs whose first evaluation is the best, since nothing is learnt."""
    return tiny_config(
        training={"monitor": "eval_accuracy", "num_epochs": 4},
        optimizer={"learning_rate": 1e-9},
    )


def test_two_whole_ones_and_the_best_to_use_while_a_fit_runs(worse: dict[str, Any], tmp_path: Path) -> None:
    looks = Looks()
    result = train(worse, looks)
    assert result.best.step == 11
    assert looks.begun == [[]]  # the one that tried the disk is gone
    assert looks.seen == {
        11: {"11": True},
        22: {"11": True, "22": True},
        33: {"11": False, "22": True, "33": True},
        44: {"11": False, "33": True, "44": True},
    }
    folder = tmp_path / "run" / "fits" / "fit" / "checkpoints"
    assert names(folder) == ["BEST", "LATEST", "best", "step-00000011", "step-00000044"]
    assert set(names(folder / "step-00000011")) == TO_USE
    assert read_manifest(folder / "step-00000011").lacks == ("optimizer.safetensors", "state.json")
    assert (folder / "BEST").read_text() == "step-00000011\n"
    assert (folder / "best").readlink() == Path("step-00000011")


def test_the_same_bytes_lie_once(worse: dict[str, Any], tmp_path: Path) -> None:
    worse["plugins"]["early_stopping"] = {"patience": 5}
    train(worse)
    fit = tmp_path / "run" / "fits" / "fit"
    weights = fit / "model" / "model.safetensors"
    one, last = (fit / "checkpoints" / f"step-000000{step}" for step in (11, 44))
    assert weights.samefile(one / "model.safetensors") and weights.samefile(last / "best.safetensors")
    assert not weights.samefile(last / "model.safetensors")
    assert verify(last).step == 44 and verify(one).step == 11
    # A copy of the run, where nothing is linked, is as sound; so is one whose model goes on.
    longer = {**worse, "training": {**worse["training"], "num_epochs": 5}}
    before = (last / "best.safetensors").read_bytes()
    train(longer, resume=True, allow_changed=True)
    assert weights.read_bytes() == before
    assert names(fit / "checkpoints") == ["BEST", "LATEST", "best", "step-00000011", "step-00000055"]


def test_a_finished_fold_keeps_its_model_alone(tiny_config: Tree, tmp_path: Path) -> None:
    looks = Looks()
    train(tiny_config(**FOLDS), looks)
    assert looks.seen and looks.begun == [[], []]
    for fold in ("fold-1", "fold-2"):
        assert not (tmp_path / "run" / "fits" / fold / "checkpoints").exists()
    assert len(open_trainer(tmp_path / "run").fits) == 2


def test_more_epochs_of_folds_without_checkpoints_are_refused_before_anything_is_trained(
    tiny_config: Tree, tmp_path: Path
) -> None:
    train(tiny_config(**FOLDS))
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    more = tiny_config(**FOLDS | {"training": {"num_epochs": 2}})
    with pytest.raises(
        CheckpointError,
        match=r"fold-1/checkpoints: expected a checkpoint to go on from, since 12 updates are planned and 6 done, "
        r"got none \(plugins\.checkpoint\.keep_finished: true keeps one of each fit\); start a new run",
    ):
        train(more, resume=True, allow_changed=True)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("settings", "folds", "alone"),
    [
        ({"keep_finished": True}, ["06"], ["22"]),
        ({"keep_finished": False}, [], []),
        ({"keep_finished": True, "keep_last": 2, "save_strategy": "steps", "save_steps": 2}, ["02", "04", "06"], None),
        ({"keep_last": 3, "save_strategy": "steps", "save_steps": 4}, [], ["16", "20", "22"]),
    ],
)
def test_what_stays_of_a_finished_fit(
    settings: dict[str, Any], folds: list[str], alone: list[str] | None, tiny_config: Tree, tmp_path: Path
) -> None:
    tree = tiny_config(**FOLDS)
    tree["plugins"] = {**tree["plugins"], "checkpoint": settings}
    train(tree)
    for fold in ("fold-1", "fold-2"):
        assert [path.name[-2:] for path in scan(tmp_path / "run" / "fits" / fold / "checkpoints")] == folds
    if alone is not None:
        tree = tiny_config(
            plugins={"progress": False, "checkpoint": settings}, environment={"output_dir": str(tmp_path / "one")}
        )
        result = train(tree)
        found = [path.name[-2:] for path in scan(tmp_path / "one" / "fits" / "fit" / "checkpoints")]
        assert result.best.step == 11
        assert found == (["11", *alone] if alone else [])


def test_the_users_files_and_pinned_ones_stay(tiny_config: Tree, tmp_path: Path) -> None:
    class Puts:
        affects_result = False

        @hookimpl
        def on_epoch_end(self, trainer: Any) -> None:
            folder = trainer.directory / "checkpoints"
            folder.mkdir(exist_ok=True)
            (folder / "notes.txt").write_text("mine")
            (folder / "step-00000003").mkdir(exist_ok=True)
            (folder / "step-00000003" / "mine.txt").write_text("mine")

    train(tiny_config(**FOLDS), Puts())
    folder = tmp_path / "run" / "fits" / "fold-1" / "checkpoints"
    assert names(folder) == ["notes.txt", "step-00000003"]
    assert names(folder / "step-00000003") == ["mine.txt"]


def test_a_model_given_in_python_has_a_checkpoint_at_the_start(tiny_config: Tree, tmp_path: Path) -> None:
    """Its first weights are in no file; so a kill before the first epoch's end goes on from them."""
    looks = Looks()
    tree = tiny_config()
    create_trainer(create_model(seed=3, **tree.pop("model")), tree, plugins=[looks]).train()
    assert looks.begun == [["LATEST", "step-00000000"]]
    assert looks.seen == {
        0: {"00": True},
        11: {"00": True, "11": True},
        22: {"11": True, "22": True},
    }


@pytest.mark.parametrize("given", [False, True])
def test_a_kill_before_the_first_checkpoint_starts_anew_to_the_same_bits(
    given: bool, tiny_config: Tree, tmp_path: Path
) -> None:
    class Falls:
        affects_result = False
        armed = True

        @hookimpl
        def on_step_end(self, state: Any) -> None:
            if state.step == 5 and Falls.armed:
                Falls.armed = False
                raise KeyboardInterrupt

    def trainer(run: str, seed: int = 3) -> Any:
        tree = tiny_config(environment={"output_dir": str(tmp_path / run)})
        model = create_model(seed=seed, **tree["model"]) if given else None
        return create_trainer(model, tree, plugins=[Falls()])

    with pytest.raises(KeyboardInterrupt):
        trainer("cut").train()
    folder = tmp_path / "cut" / "fits" / "fit" / "checkpoints"
    assert [path.name for path in scan(folder)] == (["step-00000000"] if given else [])
    # Other weights in the model that is given now change nothing: the first ones are in the checkpoint.
    cut = trainer("cut", seed=4).train(resume=True)
    whole = trainer("whole").train()
    one, other = (load_file(result.model_path / "model.safetensors") for result in (cut, whole))
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name])
    assert cut.metrics == whole.metrics and cut.history == whole.history


def test_a_loader_that_is_cut_before_its_first_checkpoint(tmp_path: Path) -> None:
    import mlx.core as mx
    import mlx.nn as nn

    inputs = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)
    batches = [
        {"x": inputs[place : place + 8], "labels": (inputs[place : place + 8, 0] > 0).astype(np.int32)}
        for place in range(0, 40, 8)
    ]

    class Falls:
        affects_result = False
        armed = True

        @hookimpl
        def on_step_end(self, state: Any) -> None:
            if state.step == 3 and Falls.armed:
                Falls.armed = False
                raise KeyboardInterrupt

    def trainer(run: str, seed: int) -> Any:
        mx.random.seed(seed)
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        return create_trainer(
            model,
            loss=nn.losses.cross_entropy,
            output_dir=str(tmp_path / run),
            num_epochs=2,
            plugins=[Falls()],
            progress=False,
        )

    with pytest.raises(KeyboardInterrupt):
        trainer("cut", 1).train(batches)
    trainer("cut", 2).train(batches, resume=True)
    trainer("whole", 1).train(batches)
    files = [tmp_path / run / "fits" / "fit" / "model" / "model.safetensors" for run in ("cut", "whole")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("folds", [False, True])
@pytest.mark.parametrize("before", ["stepbus.run.ledger.write", "stepbus.run.keeping.free"])
def test_a_kill_around_the_ledger_frees_nothing_too_early_and_all_of_it_later(
    before: str, folds: bool, tiny_config: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tree(run: str) -> dict[str, Any]:
        sections = FOLDS if folds else {}
        return tiny_config(**sections, environment={"output_dir": str(tmp_path / run)})

    class Killed(BaseException):
        """What nothing catches, in place of a kill."""

    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(before, killed)
        train(tree("cut"))
    fit = tmp_path / "cut" / "fits" / ("fold-1" if folds else "fit")
    assert len(scan(fit / "checkpoints")) == (1 if folds else 2)  # all that stood while it ran
    assert (fit / "result.json").exists() == before.endswith("free")
    looks = Looks()
    cut, whole = train(tree("cut"), looks, resume=True), train(tree("whole"))
    assert cut.metrics == whole.metrics
    for path in sorted((tmp_path / "whole").rglob("step-*")) + sorted((tmp_path / "whole").rglob("model.safetensors")):
        other = tmp_path / "cut" / path.relative_to(tmp_path / "whole")
        assert other.exists() and (path.is_dir() or other.read_bytes() == path.read_bytes())
    whole_ones = [path.name for path in scan(fit / "checkpoints") if not read_manifest(path).lacks]
    assert whole_ones == ([] if folds else ["step-00000022"])
    if not folds and before.endswith("free"):
        assert looks.seen == {}


def test_more_epochs_of_a_run_from_before_that_kept_its_checkpoints(tiny_config: Tree, tmp_path: Path) -> None:
    """An entry of the ledger that says nothing of checkpoints leaves them."""
    from stepbus.storage import sealed, unsealed, write_json_atomically

    train(tiny_config())
    place = tmp_path / "run" / "fits" / "fit" / "result.json"
    said = unsealed(place.read_bytes())
    write_json_atomically(
        place, sealed({key: value for key, value in said.items() if key not in ("checkpoints", "digest")})
    )
    train(tiny_config(), resume=True)
    assert train(tiny_config(training={"num_epochs": 3}), resume=True, allow_changed=True).steps == 33
