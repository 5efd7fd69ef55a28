"""What a run takes on disk: the estimate beside the real size of runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import save_file

from stepbus import Retention, create_trainer
from stepbus.plan.planning import describe_plan
from stepbus.plan.words import render
from stepbus.run import keeping
from stepbus.run.room.beside import Beside, Tensors
from stepbus.run.room.estimating import free_at, put_together, tensor_file, too_little
from stepbus.storage.checkpoints import writing

Make = Callable[..., dict[str, Any]]
STOPS: dict[str, Any] = {"early_stopping": {"patience": 9}}
FOLDS: dict[str, Any] = {"cross_validation": {"folds": 3}}
# The first evaluation stays the best, since nothing is learnt.
WORSE: dict[str, Any] = {
    "optimizer": {"learning_rate": 1e-9},
    "training": {"num_epochs": 4, "monitor": "eval_accuracy"},
}
DEALT: dict[str, Any] = {"data": {"validation": None}}
TEST: dict[str, Any] = {"test": True}  # rows to predict as well
TOLERANCE = 0.05


def used(folder: Path) -> int:
    """Return the bytes of a folder's files, each once, however many names it has."""
    states = [path.lstat() for path in folder.rglob("*") if path.is_symlink() or path.is_file()]
    return sum({(each.st_dev, each.st_ino): each.st_size for each in states}.values())


def measured(tree: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Train, and return the bytes of the run's folder at most and at the end."""
    sizes: list[int] = []
    original, run = writing.verify, Path(tree["environment"]["output_dir"])

    def measuring(path: Path) -> Any:  # a checkpoint is all there, and no older one gave way
        sizes.append(used(run))
        return original(path)

    def freeing(*arguments: Any, **keywords: Any) -> None:  # the model is there, and all checkpoints
        sizes.append(used(run))
        free(*arguments, **keywords)

    free = keeping.free
    with monkeypatch.context() as patch:
        patch.setattr(writing, "verify", measuring)
        patch.setattr(keeping, "free", freeing)
        create_trainer(config=tree).train()
    return max([*sizes, used(run)]), used(run)


@pytest.mark.parametrize(
    ("plugins", "sections", "exact"),
    [
        (STOPS, WORSE, True),
        ({"ema": {}, **STOPS}, {**WORSE, **TEST}, True),
        ({"checkpoint": {"save_strategy": "steps", "save_steps": 5, "keep_last": 3}}, {}, False),
        ({"checkpoint": {"keep_whole": True}, **STOPS}, WORSE, False),
        ({"checkpoint": {"save_strategy": "no"}}, TEST, True),
        (FOLDS, {**DEALT, **TEST}, True),
        ({**FOLDS, "checkpoint": {"keep_finished": True}, **STOPS}, {**DEALT, **WORSE}, True),
    ],
)
def test_the_estimate_is_near_the_real_size(
    plugins: dict[str, Any],
    sections: dict[str, Any],
    exact: bool,
    tiny_config: Make,
    review_files: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the smallest of models, where files that are no tensors are a third of all."""
    tree = tiny_config(**{**sections, "data": {}}, plugins={"progress": False, **plugins})
    tree["data"] |= sections.get("data", {})
    if sections.get("test"):
        tree["data"]["test"] = str(review_files["dev"])
    tree.pop("test", None)
    said = describe_plan(tree)["disk"]
    most, end = measured(tree, monkeypatch)
    assert said["most_least"] * (1 - TOLERANCE) <= most <= said["most"] * (1 + TOLERANCE)
    assert said["end_least"] * (1 - TOLERANCE) <= end <= said["end"] * (1 + TOLERANCE)
    if exact:  # the course that takes most
        assert most >= said["most"] * (1 - TOLERANCE)
        assert end >= said["end"] * (1 - TOLERANCE)


KEPT_BEST: dict[str, Any] = {"early_stopping": {"patience": 9}, "checkpoint": {"keep_whole": True}}


@pytest.mark.parametrize(
    "plugins",
    [
        {"lora": {"rank": 2}},
        {"lora": {"rank": 4, "targets": ["query"], "also_train": ["word_embeddings"]}},
        {"lora": {"rank": 2}, "ema": {}},
        {"lora": {"rank": 2}, **KEPT_BEST},
        {"freeze": {"embeddings": True, "layers": 1}},
        {"freeze": {"embeddings": True, "layers": 1}, "ema": {}},
        {"freeze": {"patterns": ["encoder.*"]}, **KEPT_BEST},
        {"freeze": {"gradual": True, "unfreeze_every": 5, "unfreeze_by": "updates"}},
        {"freeze": {"layers": 2, "unfreeze_every": 11, "unfreeze_by": "updates"}},
        {"reinitialize": {"layers": 1}},
    ],
)
def test_only_what_is_trained_has_a_state(
    plugins: dict[str, Any], tiny_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a few kB of what lies there, where all parameters would have 60 kB of state."""
    tree = tiny_config(**WORSE, plugins={"progress": False, **plugins})
    plan = describe_plan(tree)
    most, end = measured(tree, monkeypatch)
    assert plan["ok"] and not plan["notes"]
    assert most == pytest.approx(plan["disk"]["most"], rel=TOLERANCE)
    assert end == pytest.approx(plan["disk"]["end"], abs=3000)


def test_layers_that_are_unfrozen_later_count_from_the_start(tiny_config: Make) -> None:
    def planned(**freeze: Any) -> Any:
        return describe_plan(tiny_config(training={"num_epochs": 4}, plugins={"freeze": freeze}))

    whole = describe_plan(tiny_config(training={"num_epochs": 4}))
    later = planned(layers=2, unfreeze_every=1)
    first = planned(layers=2)
    assert later["memory"]["parameters"] == whole["memory"]["parameters"] == whole["memory"]["weights"] // 4
    assert first["memory"]["parameters"] < whole["memory"]["parameters"]
    assert first["memory"]["weights"] == whole["memory"]["weights"]
    assert first["memory"]["gradients"] == 4 * first["memory"]["parameters"]
    assert later["disk"]["checkpoint"] > first["disk"]["checkpoint"] + 8 * 2 * 16 * 16
    some = planned(embeddings=True, layers=2, unfreeze_every=3)  # the second layer alone, in the last epoch
    assert first["memory"]["parameters"] < some["memory"]["parameters"] < whole["memory"]["parameters"]
    assert "of which" in render(first) and "of which" not in render(later)


def test_what_cannot_be_asked_counts_as_trained_and_is_said(tiny_config: Make) -> None:
    whole = describe_plan(tiny_config())["disk"]["checkpoint"]
    plan = describe_plan(tiny_config(plugins={"lora": {"targets": ["strange"]}}))
    (note,) = plan["notes"]
    assert note.startswith("the estimates count every parameter as trained: ") and "'strange'" in note
    assert plan["disk"]["checkpoint"] == pytest.approx(whole, rel=0.01)


def test_planning_tells_nothing_of_the_fit_and_leaves_its_folder_alone(tiny_config: Make, tmp_path: Path) -> None:
    (tmp_path / "tells.py").write_text(
        "from stepbus import hookimpl\n"
        "class Tells:\n"
        '    """Tell and write while the model is changed."""\n'
        "    @hookimpl\n"
        "    def transform_model(self, trainer, model):\n"
        "        trainer.message('hello')\n"
        "        trainer.log({'hello': 1.0})\n"
        "        assert model.encoder.layers\n"
    )
    tree = tiny_config(plugins={"tells": {"use": f"{tmp_path / 'tells.py'}:Tells"}})
    assert describe_plan(tree)["notes"] == []
    assert not Path(tree["environment"]["output_dir"]).exists()


def test_the_best_may_be_the_last(tiny_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tiny_config(training={"num_epochs": 4, "monitor": "train_loss"}, plugins={"progress": False, **STOPS})
    said = describe_plan(tree)["disk"]
    most, end = measured(tree, monkeypatch)
    folder = Path(tree["environment"]["output_dir"]) / "fits" / "fit" / "checkpoints"
    assert (folder / "BEST").read_text() == "step-00000044\n"
    assert end == pytest.approx(said["end_least"], rel=TOLERANCE) and said["end"] > 1.2 * end
    assert most == pytest.approx(said["most_least"], rel=TOLERANCE) and said["most"] > 1.1 * most


def test_the_head_of_a_file_of_tensors(tmp_path: Path) -> None:
    import numpy as np

    arrays = {f"encoder.layer.{place}.attention.weight": np.zeros((16, 16), np.float32) for place in range(30)}
    save_file(arrays, tmp_path / "a.safetensors", {"format": "pt"})
    real = (tmp_path / "a.safetensors").stat().st_size
    assert abs(tensor_file({name: array.nbytes for name, array in arrays.items()}) - real) < 0.01 * real


def by_hand(keep: Retention, fits: int = 1, **more: Any) -> Any:
    """10 of weights, 20 of state, 1 beside a checkpoint, 3 beside a model, 4 of a fit, 7 of a run; an epoch of 10."""
    course = more.pop("course", (40, 10, "epoch"))
    tensors = Tensors(10, 20, more.pop("keeps_best", True), more.pop("averages", False))
    files = Beside(1, 1, 2, 4, 1, 7)
    return put_together(tensors, files, keep, course, fits, Path.cwd())


ONE = Retention(finished=Retention(), every="epoch")
MANY = Retention(finished=Retention(0, 0), every="epoch")


def test_sizes_by_hand() -> None:
    one = by_hand(ONE)
    assert (one.model, one.checkpoint) == (12, 41)
    # Two whole ones with the best beside them, the best one, and the one that is written; 4 and 7 of fit and run.
    assert one.most == 3 * 41 + 11 + 4 + 7
    assert one.most_least == 3 * 31 + 4 + 7  # none has a better one beside it
    assert one.end == 31 + 10 + 1 + 3 + 4 + 7  # the last one, and the best one, whose weights are the model's as well
    assert one.end_least == 31 + 3 + 4 + 7
    assert by_hand(ONE, course=None).most == by_hand(ONE, course=None).end == 10 + 3 + 4 + 7
    assert by_hand(ONE, course=(40, 10, None)).most == 3 * 31 + 4 + 7
    assert by_hand(ONE, averages=True).checkpoint == 51
    folds = by_hand(MANY, fits=5)
    assert folds.end == folds.end_least == 5 * (10 + 3 + 4) + 7
    assert folds.most == 4 * 13 + 3 * 41 + 11 + 5 * 4 + 7


def test_few_checkpoints_are_few() -> None:
    assert by_hand(ONE, course=(10, 10, "epoch")).most == 31 + 13 + 4 + 7  # one, and the model beside it
    assert by_hand(ONE, course=(20, 10, "epoch")).most == 31 + 41 + 13 + 4 + 7
    every = Retention(finished=Retention(), every=5)
    assert by_hand(every, course=(10, 10, "epoch")).most == 2 * 31 + 13 + 4 + 7
    unknown = Retention(finished=Retention())
    assert by_hand(unknown, course=(10, 10, "epoch")).most == by_hand(ONE, course=(10**6, 10, "epoch")).most


def test_many_that_stay_are_counted(tmp_path: Path) -> None:
    many = Retention(last=100, best=3, finished=Retention(last=100, best=3), every=1)
    found = by_hand(many, course=(10**5, 10, 7))
    assert 90 * 31 < found.end_least <= found.end < 110 * 31


def test_a_disk_with_less_room_is_a_note(tiny_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = describe_plan(tiny_config())
    assert plan["disk"]["free"] > plan["disk"]["most"] and not any("on disk" in note for note in plan["notes"])
    monkeypatch.setattr(
        "stepbus.run.room.estimating.shutil.disk_usage", lambda place: type("Usage", (), {"free": 1000})
    )
    plan = describe_plan(tiny_config())
    assert plan["ok"] and plan["disk"]["free"] == 1000
    (note,) = [note for note in plan["notes"] if "on disk" in note]
    assert note == too_little(plan["disk"]["most"], 1000, Path(plan["folder"]))
    said = render(plan)
    assert "DISK OF THE RUN, AN ESTIMATE" in said and "at the end" in said
    assert "MB if each evaluation is better than the one before" in said


def test_a_system_that_does_not_say_what_is_free(tiny_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(place: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("stepbus.run.room.estimating.shutil.disk_usage", refuses)
    plan = describe_plan(tiny_config())
    assert plan["ok"] and plan["disk"]["free"] is None
    assert "\nfree" not in render(plan)


def test_free_is_asked_where_the_folder_will_lie(tmp_path: Path) -> None:
    assert free_at(tmp_path / "not" / "there") == pytest.approx(free_at(tmp_path), rel=0.01)


def test_the_sentence() -> None:
    assert too_little(5, None, Path("run")) == too_little(5, 5, Path("run")) == ""
    assert too_little(1_300_000_000, 41_000_000, Path("run")) == (
        "the run may take up to 1,300 MB on disk, and that of run has 41 MB free; make room, or set "
        "environment.output_dir to a folder on another one"
    )
    assert "up to 0.41 MB on disk, and that of run has 0.00 MB free" in too_little(410_000, 999, Path("run"))
