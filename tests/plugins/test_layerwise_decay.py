"""Layer-wise decay: the rate of every parameter by hand, and what the real optimizer does with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from stepbus import ConfigError, ModelError, create_trainer, hookimpl
from stepbus_plugins.layerwise_decay import LayerwiseDecay

Make = Callable[..., dict[str, Any]]


class Watch:
    """Keeps the weights before the first update and the session."""

    def __init__(self) -> None:
        self.before: dict[str, np.ndarray] = {}

    @hookimpl
    def on_fit_start(self, trainer: Any) -> None:
        self.trainer = trainer
        self.before = arrays(trainer.model)


def arrays(model: Any) -> dict[str, np.ndarray]:
    return {name: np.array(array) for name, array in tree_flatten(model.parameters())}


def moved(tree: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return by how much each parameter moves in one update of plain gradient descent."""
    watch = Watch()
    trainer = create_trainer(config=tree, plugins=[watch])
    trainer.train()
    return {name: array - watch.before[name] for name, array in arrays(trainer.model).items()}


def scale_by_hand(name: str, decay: float, head: float) -> float:
    """Of two layers: embeddings decay^3, layer 1 decay^2, layer 2 decay, the rest the head's."""
    if ".embeddings." in name:
        return decay**3
    for layer, power in (("layer.0.", 2), ("layer.1.", 1)):
        if layer in name:
            return decay**power
    return head


@pytest.mark.parametrize(("decay", "head"), [(0.5, 1.0), (0.9, 3.0), (1.0, 2.0)])
def test_each_parameter_moves_at_the_rate_of_its_depth(tiny_config: Make, decay: float, head: float) -> None:
    def tree(plugins: dict[str, Any]) -> dict[str, Any]:
        return tiny_config(
            model={"pooling": "cls"},
            optimizer={"type": "sgd", "momentum": 0.0, "weight_decay": 0.0, "learning_rate": 100.0},
            training={"max_steps": 1, "num_epochs": 1, "eval_strategy": "no"},
            plugins={"progress": False, "gradient_clipping": False, **plugins},
        )

    plain = moved(tree({}))
    now = moved(tree({"layerwise_decay": {"decay": decay, "head_scale": head}}))
    assert plain.keys() == now.keys() and len(plain) == 5 + 2 * 16 + 4
    for name, change in plain.items():
        scale = scale_by_hand(name, decay, head)
        if "key.bias" in name:  # the same for every token, so softmax does not see it
            continue
        far = np.abs(change).max()
        assert far > 1e-5, name
        np.testing.assert_allclose(now[name], change * scale, atol=2e-3 * far * scale, err_msg=name)


def test_scales_of_several_plugins_multiply(tiny_config: Make) -> None:
    class Half:
        @hookimpl
        def parameter_groups(self, model: Any) -> dict[str, dict[str, float]]:
            return {"head.weight": {"learning_rate_scale": 0.5}}

    watch = Watch()
    tree = tiny_config(training={"max_steps": 1}, plugins={"progress": False, "layerwise_decay": {"head_scale": 6.0}})
    create_trainer(config=tree, plugins=[Half(), watch]).train()
    groups = watch.trainer.optimizer._groups
    assert groups["head.weight"]["learning_rate_scale"] == 3.0
    assert groups["head.bias"] == {"weight_decay": 0.0, "learning_rate_scale": 6.0}


def test_any_module_of_layers() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    found = LayerwiseDecay(LayerwiseDecay.Config(decay=0.5)).parameter_groups(model)
    assert {name: group["learning_rate_scale"] for name, group in found.items()} == {
        "layers.0.weight": 0.25,
        "layers.0.bias": 0.25,
        "layers.2.weight": 0.5,
        "layers.2.bias": 0.5,
    }


def test_a_model_without_layers_is_one_sentence() -> None:
    with pytest.raises(ModelError, match="expected a model with layers, got the Linear without a list of modules"):
        LayerwiseDecay(LayerwiseDecay.Config()).parameter_groups(nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"decay": 0.0}, r"decay: expected a number above 0, up to 1, got 0\.0"),
        ({"decay": 1.5}, r"decay: expected a number above 0, up to 1, got 1\.5"),
        ({"head_scale": 0.0}, r"head_scale: expected a number above 0, got 0\.0"),
        ({"decays": 0.5}, r"expected a known setting, got 'decays' \(did you mean 'decay'\?\)"),
        ({"decay": 1.0}, "expected a decay below 1, or a head_scale other than 1, got neither"),
    ],
)
def test_settings_that_cannot_be_meant(tiny_config: Make, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        create_trainer(config=tiny_config(plugins={"layerwise_decay": settings})).train()
