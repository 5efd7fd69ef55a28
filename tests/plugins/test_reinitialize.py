"""Starting top layers anew: which numbers, from which seed, and that nothing does it a second time."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from stepbus import BadInput, ModelError, StepbusError, create_trainer, hookimpl, open_trainer
from stepbus_plugins.reinitialize import renew

Make = Callable[..., dict[str, Any]]


class Watch:
    """Keeps the weights before the first update, and what a user is told."""

    def __init__(self, fails_at: int = 0) -> None:
        self.fails_at, self.told = fails_at, []
        self.before: dict[str, np.ndarray] = {}

    @hookimpl
    def on_fit_start(self, trainer: Any) -> None:
        self.trainer, self.before = trainer, arrays(trainer.model)

    @hookimpl
    def on_step_end(self, state: Any) -> None:
        if state.step == self.fails_at:
            raise RuntimeError("on purpose")

    @hookimpl
    def on_message(self, text: str) -> None:
        self.told.append(text)


def arrays(model: Any) -> dict[str, np.ndarray]:
    return {name: np.array(array) for name, array in tree_flatten(model.parameters())}


def train(tree: dict[str, Any], **more: Any) -> tuple[Any, Watch]:
    watch = Watch()
    trainer = create_trainer(config=tree, plugins=[watch])
    trainer.train(**more)
    return trainer, watch


@pytest.fixture
def pretrained(tiny_config: Make, tmp_path: Path) -> Path:
    """A trained BERT with its pooler, as a folder without a word of stepbus in it."""
    folder = tmp_path / "pretrained"
    tree = tiny_config(
        model={"pooling": "cls"}, environment={"output_dir": str(folder)}, optimizer={"learning_rate": 3e-2}
    )
    create_trainer(config=tree).train()
    (folder / "model" / "stepbus.json").unlink()
    return folder / "model"


def fine_tuning(tiny_config: Make, pretrained: Path, settings: Any, seed: int = 7, **sections: Any) -> dict[str, Any]:
    tree = tiny_config(training={"max_steps": 2, "num_epochs": 1, "seed": seed}, **sections)
    tree["model"] = {"pretrained": str(pretrained), "pooling": "cls"}
    tree["plugins"] = {"progress": False} | ({} if settings is None else {"reinitialize": settings})
    return tree


def by_hand(name: str, array: np.ndarray, seed: int) -> np.ndarray:
    """What a parameter of the encoder starts with: BERT's normal numbers of 0.02, no bias, and norms of 1."""
    if array.ndim == 2:
        draw = np.random.default_rng([seed, zlib.crc32(name.encode())])
        return draw.standard_normal(array.shape, dtype=np.float32) * np.float32(0.02)
    return np.ones_like(array) if name.endswith("LayerNorm.weight") else np.zeros_like(array)


@pytest.mark.parametrize(
    ("settings", "anew"),
    [
        ({}, ("layer.1.", "pooler.")),
        ({"layers": 2}, ("layer.0.", "layer.1.", "pooler.")),
        ({"layers": 1, "pooler": False}, ("layer.1.",)),
        ({"layers": 0}, ("pooler.",)),
    ],
)
def test_the_top_starts_anew_and_the_rest_stays(
    tiny_config: Make, pretrained: Path, settings: dict[str, Any], anew: tuple[str, ...]
) -> None:
    _, plain = train(fine_tuning(tiny_config, pretrained, None))
    _, watch = train(fine_tuning(tiny_config, pretrained, settings))
    assert plain.before.keys() == watch.before.keys()
    for name, array in plain.before.items():
        if any(part in name for part in anew):
            in_files = "bert." + name.partition(".")[2]
            assert np.array_equal(watch.before[name], by_hand(in_files, array, 7)), name
            assert not np.array_equal(watch.before[name], array), name
        else:
            assert np.array_equal(watch.before[name], array), name


def test_it_is_a_function_of_the_seed(tiny_config: Make, pretrained: Path) -> None:
    one, same, other = (train(fine_tuning(tiny_config, pretrained, {}, seed=seed))[1].before for seed in (1, 1, 2))
    name = "encoder.encoder.layer.1.output.dense.weight"
    assert np.array_equal(one[name], same[name]) and not np.array_equal(one[name], other[name])


def test_a_resume_neither_undoes_nor_redoes_it(tiny_config: Make, pretrained: Path, tmp_path: Path) -> None:
    def tree(folder: str) -> dict[str, Any]:
        made = fine_tuning(tiny_config, pretrained, {}, environment={"output_dir": str(tmp_path / folder)})
        made["training"] |= {"max_steps": 6}
        made["plugins"]["checkpoint"] = {"save_strategy": "steps", "save_steps": 3}
        return made

    whole, _ = train(tree("whole"))
    with pytest.raises(StepbusError, match="on purpose"):
        create_trainer(config=tree("part"), plugins=[Watch(fails_at=4)]).train()
    again, watch = train(tree("part"), resume=True)
    assert watch.trainer.state.step == 6
    for name, array in arrays(whole.model).items():
        assert np.array_equal(array, arrays(again.model)[name]), name


def test_an_opened_folder_is_left_alone(tiny_config: Make, pretrained: Path, tmp_path: Path) -> None:
    trainer, _ = train(fine_tuning(tiny_config, pretrained, {}))
    rows = {"text": ["good film", "a dull plot"]}
    opened = open_trainer(tmp_path / "run" / "model")
    assert np.array_equal(np.array(opened.predict(rows)), np.array(trainer.predict(rows)))


def test_a_trainer_that_trains_on_keeps_what_it_has_learnt(tiny_config: Make, pretrained: Path) -> None:
    trainer, watch = train(fine_tuning(tiny_config, pretrained, {}))
    learnt = arrays(trainer.model)
    trainer.train(num_epochs=1)
    assert all(np.array_equal(watch.before[name], array) for name, array in learnt.items())
    assert "reinitialize: the layers stay as they are, because the fit goes on with trained weights" in watch.told


def test_each_fold_starts_with_layers_of_its_own_seed(tiny_config: Make, pretrained: Path) -> None:
    seen: list[np.ndarray] = []

    class Each:
        @hookimpl
        def on_fit_start(self, trainer: Any) -> None:
            seen.append(arrays(trainer.model)["encoder.encoder.layer.1.output.dense.weight"])
            assert np.array_equal(
                seen[-1], by_hand("bert.encoder.layer.1.output.dense.weight", seen[-1], trainer.fit.seed)
            )

    tree = fine_tuning(tiny_config, pretrained, {})
    tree["data"].pop("validation")
    tree["plugins"]["cross_validation"] = {"folds": 2}
    create_trainer(config=tree, plugins=[Each()]).train()
    assert len(seen) == 2


def test_what_starts_anew_is_told(tiny_config: Make, pretrained: Path) -> None:
    _, watch = train(fine_tuning(tiny_config, pretrained, {}))
    assert "reinitialize: the top 1 layer of 2 and the pooling start anew" in watch.told


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"layers": 3}, "layers: expected at most the model's 2 layers, got 3; set layers: 2"),
        ({"layers": -1}, "layers: expected a whole number of at least 0, got -1"),
        ({"layers": 0, "pooler": False}, "expected layers or pooler, got neither"),
        ({"layer": 1}, r"expected a known setting, got 'layer' \(did you mean 'layers'\?\)"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(
    tiny_config: Make, pretrained: Path, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadInput, match=words):
        train(fine_tuning(tiny_config, pretrained, settings))


def test_a_pooling_without_layers_has_none_to_start_anew(tiny_config: Make, pretrained: Path) -> None:
    tree = fine_tuning(tiny_config, pretrained, {"layers": 0})
    tree["model"]["pooling"] = "mean"
    with pytest.raises(
        BadInput, match="pooler: expected a pooling with layers of its own, got one without; set layers"
    ):
        train(tree)


FROZEN = "expected what starts anew to be trained in some phase of the fit, but"


class Freezes:
    """What somebody's own plugin freezes: everything below the head, until an update if it has one."""

    def __init__(self, until: int | None = None) -> None:
        self.until = until

    @hookimpl
    def phases(self) -> list[int]:
        return [] if self.until is None else [self.until]

    @hookimpl
    def trained_parameters(self, names: Any, step: int) -> Any:
        return names if step == self.until else [name for name in names if name.startswith("head.")]


@pytest.mark.parametrize(
    ("freeze", "settings", "words"),
    [
        # A layer of this BERT has 6 linear layers and 2 norms, each with a weight and a bias.
        ({"layers": 2}, {}, rf"plugins.reinitialize.layers: {FROZEN} 16 parameters of layer 2 of 2 stay frozen"),
        ({"layers": 1}, {"layers": 2}, f"{FROZEN} 16 parameters of layer 1 of 2 stay frozen to the end"),
        ({"layers": 2}, {"layers": 2}, f"{FROZEN} 32 parameters of layer 1 of 2 and layer 2 of 2 stay"),
        (
            {"patterns": ["*.layer.1.output.dense.bias"]},
            {},
            rf"{FROZEN} 1 parameter of layer 2 of 2 .* random, such as encoder.*layer.1.output.dense.bias; freeze "
            r"less, unfreeze it in time \(freeze does so with gradual: true\), or start less anew",
        ),
        ({"patterns": ["pooling.*"]}, {}, rf"plugins.reinitialize.pooler: {FROZEN} 2 parameters of the pooling stay"),
        # Each of 2 epochs gives one layer more, and the lower one is still frozen when the fit ends.
        (
            {"gradual": True, "unfreeze_every": 1, "unfreeze_by": "epochs"},
            {"layers": 2},
            "16 parameters of layer 1 of 2",
        ),
    ],
)
def test_what_starts_anew_is_not_frozen_to_the_end(
    tiny_config: Make, pretrained: Path, freeze: dict[str, Any], settings: dict[str, Any], words: str
) -> None:
    tree = fine_tuning(tiny_config, pretrained, settings)
    tree["training"] |= {"num_epochs": 2, "max_steps": 22}
    tree["plugins"]["freeze"] = freeze
    with pytest.raises(BadInput, match=words):
        train(tree)


@pytest.mark.parametrize(
    "freeze", [{"layers": 1, "embeddings": True}, {"gradual": True}, {"patterns": ["*.layer.0.*"]}]
)
def test_what_starts_anew_may_wait_for_its_phase(tiny_config: Make, pretrained: Path, freeze: dict[str, Any]) -> None:
    tree = fine_tuning(tiny_config, pretrained, {"pooler": False})
    tree["training"] |= {"num_epochs": 2, "max_steps": 22}
    tree["plugins"]["freeze"] = freeze
    trainer, watch = train(tree)
    after = arrays(trainer.model)
    for name, array in watch.before.items():
        if ".layer.1." in name and name.endswith("dense.weight"):
            assert not np.array_equal(after[name], array), name


def test_any_plugin_that_freezes_it_is_seen(tiny_config: Make, pretrained: Path) -> None:
    tree = fine_tuning(tiny_config, pretrained, {})
    with pytest.raises(BadInput, match=f"{FROZEN} 18 parameters of layer 2 of 2 and the pooling stay frozen"):
        create_trainer(config=tree, plugins=[Freezes()]).train()
    create_trainer(config=tree, plugins=[Freezes(until=1)]).train()


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.factors = mx.ones((3,))
        self.norm = nn.RMSNorm(3)


def test_any_norm_and_nothing_that_nobody_knows() -> None:
    model = Scaled()
    model.norm.weight = mx.zeros((3,))
    renew(model, ["norm.weight"], 1)
    assert model.norm.weight.tolist() == [1, 1, 1]
    with pytest.raises(ModelError, match=r"expected matrices, biases and norms .* got factors of shape \[3\]; leave"):
        renew(model, ["factors"], 1)
