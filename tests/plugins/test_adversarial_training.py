"""FGM and AWP against PyTorch (tests/fixtures/adversarial_training), and what may be moved, when."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_unflatten

from stepbus import PluginError, create_model
from stepbus_plugins.adversarial_training import AdversarialTraining
from stepbus_plugins.adversarial_training.moving import adversarial, awp, chosen, fgm, unit

FIXTURES = Path(__file__).parents[1] / "fixtures"
ROW_WEIGHTS = [1.0, 2.0, 1.0, 0.5, 0.0]
Gradient = Callable[..., Any]


@pytest.fixture(scope="module")
def torchs() -> dict[str, np.ndarray]:
    with np.load(FIXTURES / "adversarial_training" / "adversarial_training.npz") as arrays:
        return dict(arrays)


def bert() -> tuple[dict[str, mx.array], Gradient, dict[str, mx.array], dict[str, str]]:
    """Return parameters, value_and_grad, a batch, and the names of the parameters by those in files."""
    model = create_model(
        "bert", "multiclass_classification", 3, pretrained=str(FIXTURES / "bert" / "multiclass"), pooling="cls"
    ).eval()
    with np.load(FIXTURES / "bert" / "multiclass" / "expected.npz") as arrays:
        kept = {name: mx.array(arrays[name]) for name in ("input_ids", "attention_mask", "token_type_ids", "labels")}
    batch = {**kept, "attention_mask": kept["attention_mask"].astype(mx.float32), "weights": mx.array(ROW_WEIGHTS)}

    def value_and_grad(parameters: dict[str, mx.array], batch: dict[str, mx.array]) -> Any:
        def total(values: dict[str, mx.array]) -> mx.array:
            model.update(tree_unflatten(list(values.items())))
            return (model.head.loss(model(batch), batch["labels"]) * batch["weights"]).sum()

        value, gradients = mx.value_and_grad(total)(dict(parameters))
        return value, batch["weights"].sum(), {"of_loss": value}, gradients

    parameters: Any = tree_flatten(model.parameters())
    return dict(parameters), value_and_grad, batch, {model.tensor_name(path): path for path, _ in parameters}


# The cases of make.py: settings, and what the gradients count.
CASES: dict[str, dict[str, Any]] = {
    "fgm": {"mode": "fgm", "epsilon": 0.7},
    "awp": {"mode": "awp", "gamma": 0.03, "ascent_rate": 0.05, "weight": 0.5},
    "awp_two": {"mode": "awp", "gamma": 0.03, "ascent_rate": 0.02, "ascent_steps": 2, "clean_weight": 0.0},
}


NAMES = {
    "encoder.embeddings.word_embeddings.weight": mx.zeros((3, 2)),
    "encoder.norm.weight": mx.zeros(2),
    "head.weight": mx.zeros((2, 2)),
    "head.bias": mx.zeros(2),
}


class Model:
    def __init__(self) -> None:
        self.named = dict(NAMES)

    def parameters(self) -> Any:
        return tree_unflatten(list(self.named.items()))


class Fit:
    """What the plugin sees of a trainer."""

    def __init__(self, step: int = 0, per_epoch: int = 10, total: int = 30) -> None:
        self.state = type("State", (), {"step": step, "steps_per_epoch": per_epoch, "total_steps": total})()
        self.config = type("Config", (), {"plugins": ()})()
        self.model = Model()
        self.fit_name = "fit"
        self.messages: list[str] = []

    def message(self, text: str, level: str = "info") -> None:
        self.messages.append(text)


def plugin(**settings: Any) -> AdversarialTraining:
    return AdversarialTraining(AdversarialTraining.Config(**settings))


@pytest.mark.parametrize("case", CASES)
def test_totals_and_gradients_are_pytorchs(case: str, torchs: dict[str, np.ndarray]) -> None:
    parameters, value_and_grad, batch, paths = bert()
    before = {name: np.array(array) for name, array in parameters.items()}
    wrapped = plugin(**CASES[case]).wrap_gradient(Fit(), value_and_grad)
    assert wrapped is not None
    total, weight, scalars, gradients = wrapped(parameters, batch)
    assert (total.item(), weight.item()) == (pytest.approx(torchs["total"], rel=1e-5), 4.5)
    assert list(scalars) == ["of_loss", "adversarial_loss"]
    assert scalars["of_loss"].item() == total.item()
    worst = torchs[f"{case}/total"]
    assert worst > 1.05 * torchs["total"]  # else a perturbation that is left out would pass
    assert scalars["adversarial_loss"].item() == pytest.approx(worst, rel=1e-5)
    assert gradients.keys() == parameters.keys()
    found = [name for name in torchs if name.startswith(f"{case}/") and name != f"{case}/total"]
    assert len(found) == 7
    for name in found:
        own = np.array(gradients[paths[name.partition("/")[2]]])
        size = np.abs(torchs[name]).max()
        np.testing.assert_allclose(own, torchs[name], rtol=1e-4, atol=2e-5 * size, err_msg=name)
    assert all(np.array_equal(before[name], np.array(array)) for name, array in parameters.items())


def test_awp_stays_within_its_ball_and_fgm_has_its_length() -> None:
    draw = np.random.default_rng(0)
    weight, gradient = (mx.array(draw.normal(size=(7, 5)), mx.float32) for _ in range(2))
    size = np.linalg.norm(np.array(weight))
    for rate, length in ((0.02, 0.02), (0.5, 0.1)):
        change = np.array(awp(rate, 0.1)(weight, gradient, 0.0))
        assert np.linalg.norm(change) == pytest.approx(length * size, rel=1e-5)
        cosine = (change * np.array(gradient)).sum() / np.linalg.norm(change) / np.linalg.norm(np.array(gradient))
        assert cosine == pytest.approx(1, abs=1e-6)
    assert np.linalg.norm(np.array(fgm(2.5)(weight, gradient, 0.0))) == pytest.approx(2.5, rel=1e-5)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_weights_of_a_lower_precision_are_moved_in_float32(dtype: mx.Dtype) -> None:
    """The squares of 256 and their sum are beyond float16, and bfloat16 has no number between 256 and 258."""
    weight, gradient = mx.full((20, 30), 256, dtype), mx.ones((20, 30), dtype)
    for change in (awp(0.001, 0.1)(weight, gradient, 0.0), fgm(0.256 * 600**0.5)(weight, gradient, 0.0)):
        np.testing.assert_allclose(weight + change, 256.256, rtol=1e-6)


@pytest.mark.parametrize("size", [1e-30, 1e-10, 1.0, 1e10, 1e30])
def test_a_gradient_of_any_size_gets_length_one(size: float) -> None:
    """Squares of 1e-30 are 0 in float32, and those of 1e30 infinite."""
    draw = np.random.default_rng(1).normal(size=(30, 4))
    found = np.array(unit(mx.array((size * draw).astype(np.float32))))
    np.testing.assert_allclose(found, draw / np.linalg.norm(draw), rtol=1e-5)


def test_a_gradient_of_zeros_moves_nothing() -> None:
    assert unit(mx.zeros((3, 2))).tolist() == [[0.0, 0.0]] * 3


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_a_gradient_that_is_no_number_stays_none(odd: float) -> None:
    """Also where the gradient of the batch as it is counts 0: else an overflow would be trained past."""

    def value_and_grad(parameters: Any, batch: Any) -> Any:
        return mx.array(1.0), mx.array(1.0), {}, {"w": mx.array([odd]) * parameters["w"]}

    both = adversarial(
        value_and_grad, dict, lambda arrays, trained: ["w"], fgm(1.0), steps=1, weights=(0.0, 1.0), mode="fgm"
    )
    assert np.isnan(np.array(fgm(1.0)(mx.ones((2, 2)), mx.array([[odd, 1.0], [0.0, 2.0]]), 0.0))).any()
    assert not np.isfinite(np.array(both({"w": mx.ones((1,))}, {})[3]["w"])).any()


def test_frozen_parameters_are_moved_and_stay_out_of_what_comes_back() -> None:
    """The embeddings are frozen: the head's gradient is the sum of that at 2 and at 2 + 0.5, in their place."""

    def value_and_grad(parameters: Any, batch: Any) -> Any:
        words, head = parameters[next(iter(NAMES))], parameters["head.weight"]
        return (words * head).sum(), mx.array(1.0), {}, {next(iter(NAMES)): head, "head.weight": words}

    fit = Fit()
    fit.model.named[next(iter(NAMES))] = mx.array([[2.0]])
    wrapped = plugin(epsilon=0.5).wrap_gradient(fit, value_and_grad)
    assert wrapped is not None
    gradients = wrapped({"head.weight": mx.array([[3.0]])}, {})[3]
    assert {name: each.tolist() for name, each in gradients.items()} == {"head.weight": [[4.5]]}


def quadratic(parameters: dict[str, mx.array], batch: Any) -> Any:
    """Return the gradient of half the squared length of one parameter."""
    total = mx.square(parameters["w"]).sum() / 2
    return total, mx.array(1.0), {}, {"w": parameters["w"]}


def test_one_inside_the_other_is_what_a_hand_computes() -> None:
    """FGM by 1 inside AWP by a tenth: g(w) is w + (w + 1), and it is taken at 10 and at 11."""
    inner = plugin(epsilon=1.0, parameters=("w",)).wrap_gradient(Fit(), quadratic)
    outer = plugin(mode="awp", gamma=0.1, ascent_rate=1.0, parameters=("w",)).wrap_gradient(Fit(), inner)
    assert outer is not None
    total, _, scalars, gradients = outer({"w": mx.array([[10.0]])}, {})
    assert gradients["w"].item() == pytest.approx(21 + 23)
    assert total.item() == 50
    numbers = {name: each.item() for name, each in scalars.items()}
    assert numbers == pytest.approx({"adversarial_loss": 11**2 / 2, "adversarial_loss_awp": 11**2 / 2})
    with pytest.raises(PluginError, match="expected each mode once, got awp twice"):
        plugin(mode="awp", parameters=("w",)).wrap_gradient(Fit(), outer)({"w": mx.array([[10.0]])}, {})  # type: ignore[misc]


def test_what_patterns_choose() -> None:
    assert chosen(None, NAMES, NAMES) == ["encoder.embeddings.word_embeddings.weight", "head.weight"]
    assert chosen(None, NAMES, ["head.weight", "head.bias"]) == ["head.weight"]
    assert chosen(["*.bias", "head.*"], NAMES, NAMES) == ["head.weight", "head.bias"]
    assert chosen(["*norm*"], NAMES, ["head.weight"]) == ["encoder.norm.weight"]


@pytest.mark.parametrize(
    ("patterns", "trained", "said"),
    [
        (["*word_embedding.weight"], list(NAMES), "got '*word_embedding.weight', which matches none (did you mean "),
        (["head.*", "*x*"], list(NAMES), "got '*x*', which matches none"),
        (None, ["head.bias"], "expected matrices that are trained, got none"),
    ],
)
def test_what_cannot_be_moved_is_refused(patterns: Any, trained: list[str], said: str) -> None:
    with pytest.raises(LookupError) as caught:
        chosen(patterns, NAMES, trained)
    assert said in str(caught.value)


def test_what_could_not_be_moved_in_a_phase_is_refused_before_the_first_update() -> None:
    late = plugin(mode="awp", from_epoch=3)
    late.trained_parameters(Fit(), Model(), ["head.bias"], 0)
    late.trained_parameters(Fit(), Model(), list(NAMES), 20)
    with pytest.raises(PluginError, match=r"^plugins\.adversarial_training\.parameters: expected matrices that are"):
        late.trained_parameters(Fit(), Model(), ["head.bias"], 20)
    with pytest.raises(PluginError, match="which matches none"):
        plugin(parameters=("*x*",)).trained_parameters(Fit(), Model(), list(NAMES), 0)


def test_it_begins_where_it_was_told() -> None:
    for settings, begin in (
        ({}, 0),
        ({"from_epoch": 3}, 20),
        ({"from_step": 7}, 7),
        ({"from_epoch": 1}, 0),
        ({"from_step": 0}, 0),
    ):
        one = plugin(**settings)
        assert one.phases(Fit()) == ([begin] if begin else None)
        for step in (0, begin, begin + 1):
            has = step >= begin
            assert (one.wrap_gradient(Fit(step), quadratic) is not None) == has
            assert one.trace_key(Fit(step)) == (one.config, has)


def test_a_fit_that_ends_before_it_begins_says_so() -> None:
    fit = Fit(total=20)
    assert plugin(from_epoch=3).phases(fit) is None
    assert fit.messages == [
        "plugins.adversarial_training: it never begins in fit, which ends after 20 updates, before update 21"
    ]


@pytest.mark.parametrize(
    ("settings", "setting", "said"),
    [
        ({"gamma": 0.1}, "gamma", "expected it with mode: awp, got mode: fgm; leave it out"),
        ({"ascent_steps": 1}, "ascent_steps", "expected it with mode: awp, got mode: fgm; leave it out"),
        ({"mode": "awp", "epsilon": 1.0}, "epsilon", "expected it with mode: fgm, got mode: awp; leave it out"),
        ({"from_epoch": 1, "from_step": 2}, "from_step", "expected from_epoch or from_step, got 1 and 2; leave one of"),
        ({"parameters": ()}, "parameters", "expected at least one pattern, got an empty list; leave it out"),
    ],
)
def test_settings_that_do_not_go_together(settings: Any, setting: str, said: str) -> None:
    [(name, message)] = AdversarialTraining.Config(**settings).problems()
    assert (name, message[: len(said)]) == (setting, said)
