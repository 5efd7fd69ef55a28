"""Freezing: bits that stay, layers that are unfrozen from the top, and what cannot be meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from stepbus import BadInput, StepbusError, create_trainer, hookimpl
from stepbus.cli.main import main
from stepbus_plugins.freeze import Freeze

Make = Callable[..., dict[str, Any]]


CONFIG = SimpleNamespace(locate=lambda problem: problem)  # that nothing of came from a file


class Watch:
    """Keeps all weights after each update, as bytes, and what a user is told."""

    def __init__(self, fails_at: int = 0) -> None:
        self.fails_at = fails_at
        self.weights: list[dict[str, bytes]] = []
        self.told: list[str] = []

    def keep(self, trainer: Any) -> None:
        named: Any = tree_flatten(trainer.model.parameters())
        self.weights.append({name: np.array(array).tobytes() for name, array in named})

    @hookimpl
    def on_fit_start(self, trainer: Any) -> None:
        self.trainer = trainer
        self.keep(trainer)

    @hookimpl
    def on_step_end(self, trainer: Any) -> None:
        self.keep(trainer)
        if trainer.state.step == self.fails_at:
            raise RuntimeError("on purpose")

    @hookimpl
    def on_message(self, text: str) -> None:
        self.told.append(text)


def train(tree: dict[str, Any], **more: Any) -> Watch:
    watch = Watch()
    create_trainer(config=tree, plugins=[watch]).train(**more)
    return watch


def freezing(tiny_config: Make, settings: dict[str, Any], **sections: Any) -> dict[str, Any]:
    return tiny_config(plugins={"progress": False, "freeze": settings}, **sections)


def part_of(name: str) -> str:
    """Return "0" for embeddings, "1" and "2" for the layers, "3" for what is above."""
    return "0" if ".embeddings." in name else str(int(name.split(".")[3]) + 1) if ".layer." in name else "3"


def moving(watch: Watch, update: int) -> set[str]:
    """Return the parts of the model of which something moves in an update, from 1."""
    before, after = watch.weights[update - 1 : update + 1]
    return {part_of(name) for name in before if before[name] != after[name]}


@pytest.mark.parametrize(
    ("settings", "trained"),
    [
        ({"embeddings": True}, {"1", "2", "3"}),
        ({"layers": 1}, {"0", "2", "3"}),
        ({"embeddings": True, "layers": 2}, {"3"}),
        ({"patterns": ["encoder.encoder.*"]}, {"0", "3"}),
        ({"patterns": ["encoder.encoder.*", "encoder.embeddings.*"]}, {"3"}),
        ({"patterns": ["head.*"], "layers": 2}, {"0"}),
    ],
)
def test_what_is_frozen_keeps_its_bits(tiny_config: Make, settings: dict[str, Any], trained: set[str]) -> None:
    watch = train(freezing(tiny_config, settings, training={"num_epochs": 1}))
    first, last = watch.weights[0], watch.weights[-1]
    assert len(watch.weights) == 12
    assert {part_of(name) for name in first if first[name] != last[name]} == trained
    state = watch.trainer.optimizer.state["parameters"]
    assert {part_of(name) for name in state} == trained


def test_single_parameters_by_pattern(tiny_config: Make) -> None:
    watch = train(freezing(tiny_config, {"patterns": ["*LayerNorm*", "*.query.bias"]}, training={"num_epochs": 1}))
    first, last = watch.weights[0], watch.weights[-1]
    same = {name for name in first if first[name] == last[name]}
    assert same == {name for name in first if "LayerNorm" in name or name.endswith("query.bias")}


@pytest.mark.parametrize("settings", [{"gradual": True}, {"embeddings": True, "layers": 2, "unfreeze_every": 1}])
def test_layers_are_unfrozen_from_the_top_by_epoch(tiny_config: Make, settings: dict[str, Any]) -> None:
    """Of 11 updates an epoch: the head, then layer 2, then layer 1, then the embeddings."""
    watch = train(freezing(tiny_config, settings, training={"num_epochs": 5, "eval_strategy": "no"}))
    expected = [{"3"}, {"2", "3"}, {"1", "2", "3"}, {"0", "1", "2", "3"}, {"0", "1", "2", "3"}]
    for epoch, parts in enumerate(expected):
        for update in range(11 * epoch + 1, 11 * epoch + 12):
            assert moving(watch, update) == parts, update


def test_layers_are_unfrozen_by_updates(tiny_config: Make) -> None:
    settings = {"layers": 2, "gradual": True, "unfreeze_every": 4, "unfreeze_by": "updates"}
    watch = train(freezing(tiny_config, settings, training={"num_epochs": 1, "eval_strategy": "no"}))
    found = [moving(watch, update) for update in range(1, 12)]
    assert found == [{"0", "3"}] * 4 + [{"0", "2", "3"}] * 4 + [{"0", "1", "2", "3"}] * 3


def test_patterns_stay_frozen_while_layers_are_unfrozen(tiny_config: Make) -> None:
    settings = {
        "layers": 2,
        "patterns": ["*LayerNorm*"],
        "gradual": True,
        "unfreeze_every": 2,
        "unfreeze_by": "updates",
    }
    watch = train(freezing(tiny_config, settings, training={"num_epochs": 1, "eval_strategy": "no"}))
    first, last = watch.weights[0], watch.weights[-1]
    assert {name for name in first if first[name] == last[name]} == {name for name in first if "LayerNorm" in name}


@pytest.mark.parametrize("at", [9, 11, 14])
def test_a_resume_on_either_side_of_a_boundary_is_exact(tiny_config: Make, tmp_path: Path, at: int) -> None:
    def tree(folder: str) -> dict[str, Any]:
        made = freezing(
            tiny_config,
            {"embeddings": True, "layers": 2, "gradual": True, "unfreeze_every": 1},
            training={"num_epochs": 3, "eval_strategy": "no"},
            environment={"output_dir": str(tmp_path / folder)},
        )
        made["plugins"]["checkpoint"] = {"save_strategy": "steps", "save_steps": at}
        return made

    whole = train(tree("whole"))
    with pytest.raises(StepbusError, match="on purpose"):
        create_trainer(config=tree("part"), plugins=[Watch(at + 1)]).train()
    again = train(tree("part"), resume=True)
    assert len(again.weights) == 33 - at + 1
    assert again.weights == whole.weights[at:]


def test_a_late_parameter_begins_as_a_first_update_does(tiny_config: Make) -> None:
    """AdamW's first update is the rate times the sign of the gradient, whenever it comes."""
    settings = {"layers": 2, "gradual": True, "unfreeze_every": 5, "unfreeze_by": "updates"}
    tree = freezing(
        tiny_config,
        settings,
        optimizer={"weight_decay": 0.0, "learning_rate": 1e-3},
        scheduler={"type": "constant"},
        training={"num_epochs": 1, "eval_strategy": "no"},
    )
    watch = train(tree)
    name = "encoder.encoder.layer.1.output.dense.weight"
    before, after = (np.frombuffer(watch.weights[at][name], np.float32) for at in (5, 6))
    # But for gradients as small as the epsilon; a count of 6 would make it 0.42 of that.
    assert np.median(np.abs(after - before)) == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"layers": 1, "unfreeze_by": "updates"},
            "unfreeze_by: expected gradual or unfreeze_every beside it, got neither",
        ),
        ({"gradual": True, "patterns": ["head.*"]}, "to train from update 1 on, got all frozen"),
        ({}, "expected embeddings, layers, patterns or gradual, got none; to freeze nothing, switch freeze off"),
        ({"layers": -1}, "layers: expected a whole number of at least 0, got -1"),
        ({"layers": 3}, "layers: expected at most the model's 2 layers, got 3; set layers: 2"),
        ({"patterns": ["encoder.embedings.*"]}, r"got 'encoder\.embedings\.\*' \(did you mean 'embeddings'\?\)"),
        ({"patterns": ["head.wieght"]}, r"got 'head\.wieght' \(did you mean 'weight'\?\)"),
        ({"patterns": ["*"]}, r"expected some parameters to train from update 1 on, got all frozen"),
        (
            {"layers": 1, "gradual": True, "unfreeze_every": 2},
            "unfreeze_every: expected fewer than the fit's 2 epochs, got 2",
        ),
        (
            {"layers": 1, "gradual": True, "unfreeze_every": 22, "unfreeze_by": "updates"},
            "fewer than the fit's 22 updates, got 22",
        ),
        (
            {"layers": 1, "gradual": True, "unfreeze_every": 0},
            "unfreeze_every: expected a whole number of at least 1, got 0",
        ),
        ({"layer": 1}, r"expected a known setting, got 'layer' \(did you mean 'layers'\?\)"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(tiny_config: Make, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        train(freezing(tiny_config, settings))


def test_the_command_line_says_it_and_ends_with_2(
    tiny_config: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import yaml

    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(freezing(tiny_config, {"layers": 3})))
    assert main(["train", str(path)]) == 2
    told = capsys.readouterr().err
    line = path.read_text().splitlines().index("  freeze:") + 2
    assert (
        f"run.yaml:{line}: plugins.freeze.layers: expected at most the model's 2 layers, got 3; set layers: 2" in told
    )
    assert "Traceback" not in told


def test_what_is_trained_is_told(tiny_config: Make) -> None:
    watch = train(
        freezing(tiny_config, {"layers": 2, "gradual": True, "unfreeze_every": 1}, training={"max_steps": 12})
    )
    assert "freeze: 7 of 39 parameters are trained at first, and one more layer after each 1 epoch" in watch.told


def test_a_model_without_embeddings_is_told() -> None:
    plugin = Freeze(Freeze.Config(embeddings=True))
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    with pytest.raises(BadInput, match=r"\.embeddings: expected a model with embeddings, got one without"):
        plugin.trained_parameters(SimpleNamespace(config=CONFIG), model, ["layers.0.weight"], 0)


def test_a_fit_that_ends_before_anything_is_unfrozen(tiny_config: Make) -> None:
    words = "unfreeze_every: expected less than the fit's 11 updates, got what makes 11 updates; nothing would ever"
    with pytest.raises(BadInput, match=words):
        train(freezing(tiny_config, {"gradual": True}, training={"max_steps": 11}))
    train(freezing(tiny_config, {"gradual": True}, training={"max_steps": 12}))


def test_epochs_that_nobody_can_count() -> None:
    plugin = Freeze(Freeze.Config(layers=1, gradual=True))
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    trainer = SimpleNamespace(config=CONFIG, model=model, state=SimpleNamespace(steps_per_epoch=0))
    with pytest.raises(BadInput, match=r"unfreeze_by: expected updates, .* got epochs; set unfreeze_by: updates"):
        plugin.phases(trainer)
