"""Each optimizer against mlx.optimizers and a float64 reference written here, ten steps from the same start."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest

from stepbus import ConfigError, ParameterUpdater, load_config
from stepbus_plugins.optimizers import Optimizers

PARTS = {part.name: part for part in Optimizers.components}
STEPS = 10
SHAPES = {"encoder.weight": (6, 10), "encoder.bias": (10,), "tall.weight": (12, 5), "head.weight": (3, 4)}
Floats = np.ndarray[Any, np.dtype[np.float64]]


def start() -> dict[str, Floats]:
    rng = np.random.default_rng(7)
    return {name: rng.normal(size=shape).astype(np.float32).astype(np.float64) for name, shape in SHAPES.items()}


def gradient(step: int) -> dict[str, Floats]:
    rng = np.random.default_rng(100 + step)
    return {name: rng.normal(size=shape).astype(np.float32).astype(np.float64) for name, shape in SHAPES.items()}


def arrays(tree: dict[str, Floats]) -> dict[str, mx.array]:
    return {name: mx.array(values.astype(np.float32)) for name, values in tree.items()}


def updater(name: str, **options: Any) -> ParameterUpdater:
    settings = PARTS[name].config(**options)
    made = ParameterUpdater(PARTS[name].build(settings), settings.learning_rate, settings.weight_decay)
    made.init(arrays(start()))
    return made


def run(made: ParameterUpdater, *, compiled: bool = False) -> dict[str, mx.array]:
    step = mx.compile(made.apply, inputs=made.state, outputs=made.state) if compiled else made.apply
    tree = arrays(start())
    for number in range(1, STEPS + 1):
        tree = step(arrays(gradient(number)), tree)
        mx.eval(tree, made.state)
    return tree


def run_mlx(optimizer: Any) -> dict[str, mx.array]:
    tree = arrays(start())
    optimizer.init(tree)
    for number in range(1, STEPS + 1):
        tree = optimizer.apply_gradients(arrays(gradient(number)), tree)
        mx.eval(tree)
    return tree


Rule = Callable[[Floats, Floats, dict[str, Any], int], Floats]


def run_reference(rule: Rule) -> dict[str, Floats]:
    tree, states = start(), {name: {} for name in SHAPES}
    for number in range(1, STEPS + 1):
        tree = {name: rule(tree[name], grad, states[name], number) for name, grad in gradient(number).items()}
    return tree


def close(got: dict[str, mx.array], expected: dict[str, Any], tolerance: float) -> None:
    for name, array in got.items():
        np.testing.assert_allclose(np.array(array), np.array(expected[name]), rtol=0, atol=tolerance, err_msg=name)


def adam_rule(rate: float, decay: float, l2: float, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Rule:
    def rule(p: Floats, g: Floats, state: dict[str, Any], t: int) -> Floats:
        g = g + l2 * p
        state["m"] = b1 * state.get("m", 0.0) + (1 - b1) * g
        state["v"] = b2 * state.get("v", 0.0) + (1 - b2) * g**2
        m, v = state["m"] / (1 - b1**t), state["v"] / (1 - b2**t)
        return p * (1 - rate * decay) - rate * m / (np.sqrt(v) + eps)

    return rule


# Numbers are of size 1, so the tolerances below are a few float32 roundings (6e-8) for each of ten steps.


def test_adamw_is_the_paper_and_mlx() -> None:
    got = run(updater("adamw", learning_rate=0.05, weight_decay=0.1))
    close(got, run_reference(adam_rule(0.05, 0.1, 0.0)), 5e-7)
    # MLX takes 1 - 0.999^t in float32, which costs it digits: hence 5e-6.
    mlx = optim.AdamW(0.05, betas=[0.9, 0.999], eps=1e-8, weight_decay=0.1, bias_correction=True)
    close(got, run_mlx(mlx), 5e-6)


def test_adamw_with_a_large_epsilon_is_not_folded_wrongly() -> None:
    got = run(updater("adamw", learning_rate=0.05, weight_decay=0.0, epsilon=0.1, beta1=0.0, beta2=0.5))
    close(got, run_reference(adam_rule(0.05, 0.0, 0.0, 0.0, 0.5, 0.1)), 5e-7)


def test_adam_puts_the_penalty_through_the_moments() -> None:
    close(run(updater("adam", learning_rate=0.05)), run_mlx(optim.Adam(0.05, bias_correction=True)), 5e-6)
    got = run(updater("adam", learning_rate=0.05, weight_decay=0.1))
    close(got, run_reference(adam_rule(0.05, 0.0, 0.1)), 5e-7)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_sgd_is_mlx(momentum: float, nesterov: bool, decay: float) -> None:
    if nesterov and not momentum:
        config = PARTS["sgd"].config(momentum=0.0, nesterov=True)
        assert config.problems() == [("nesterov", "expected a momentum above 0 with nesterov: true, got 0")]
        return
    options: dict[str, Any] = {"momentum": momentum, "nesterov": nesterov, "weight_decay": decay}
    assert PARTS["sgd"].config(**options).problems() == []
    close(run(updater("sgd", learning_rate=0.05, **options)), run_mlx(optim.SGD(0.05, **options)), 1e-6)


def test_lion_is_mlx() -> None:
    got = run(updater("lion", learning_rate=0.01, weight_decay=0.1))
    close(got, run_mlx(optim.Lion(0.01, betas=[0.9, 0.99], weight_decay=0.1)), 5e-7)


@pytest.mark.parametrize("options", [{}, {"scale_parameter": True}, {"beta1": 0.9, "clip_threshold": 0.5}])
def test_adafactor_is_mlx(options: dict[str, Any]) -> None:
    got = run(updater("adafactor", learning_rate=0.05, weight_decay=0.1, **options))
    mlx = optim.Adafactor(
        0.05,
        weight_decay=0.1,
        relative_step=False,
        beta_1=options.get("beta1"),
        scale_parameter=options.get("scale_parameter", False),
        clip_threshold=options.get("clip_threshold", 1.0),
    )
    close(got, run_mlx(mlx), 2e-6)


def newton_schulz(matrix: Floats) -> Floats:
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix) / (np.linalg.norm(matrix) + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if tall else x


@pytest.mark.parametrize("nesterov", [False, True])
def test_muon_for_hidden_matrices_and_adamw_for_the_rest(nesterov: bool) -> None:
    def hidden_rule(p: Floats, g: Floats, state: dict[str, Any], t: int) -> Floats:
        if p.shape not in {(6, 10), (12, 5)}:
            return p
        state["m"] = 0.95 * state.get("m", 0.0) + 0.05 * g
        ahead = 0.05 * g + 0.95 * state["m"] if nesterov else state["m"]
        scale = max(1.0, p.shape[0] / p.shape[1]) ** 0.5
        return p * (1 - 0.02 * 0.1) - 0.02 * scale * newton_schulz(ahead)

    got = run(updater("muon", learning_rate=0.02, adamw_learning_rate=0.05, weight_decay=0.1, nesterov=nesterov))
    hidden = {name: array for name, array in got.items() if name in {"encoder.weight", "tall.weight"}}
    others = {name: array for name, array in got.items() if name not in hidden}

    # A rounding of 6e-8 grows by 3.44 in each of five iterations, to 3e-5 of a step of 0.02, ten times: 6e-6 at worst.
    close(hidden, run_reference(hidden_rule), 5e-6)
    close(others, run_reference(adam_rule(0.05, 0.1, 0.0)), 5e-7)


def test_muon_steps_have_singular_values_near_1() -> None:
    from stepbus_plugins.optimizers.muon import orthogonalise

    matrix = np.random.default_rng(3).normal(size=(64, 16)).astype(np.float32)
    values = np.linalg.svd(np.array(orthogonalise(mx.array(matrix), 5)), compute_uv=False)
    assert values.min() > 0.6
    assert values.max() < 1.3


@pytest.mark.parametrize("name", PARTS)
def test_a_quadratic_goes_down(name: str) -> None:
    # Lion and Muon take steps of a fixed size: 150 of them must reach as far as the farthest target, about 3 away.
    rates = {"sgd": 0.01, "lion": 0.02, "muon": 0.04}
    own = {"adamw_learning_rate": 0.05} if name == "muon" else {}
    made = updater(name, learning_rate=rates.get(name, 0.05), weight_decay=0.0, **own)
    target = arrays(gradient(0))

    def loss(tree: dict[str, mx.array]) -> mx.array:
        return sum(((tree[name] - target[name]) ** 2).sum() for name in tree)

    tree = arrays(start())
    before = loss(tree).item()
    for _ in range(150):
        tree = made.apply(mx.grad(loss)(tree), tree)
        mx.eval(tree, made.state)
    assert loss(tree).item() < 0.1 * before


@pytest.mark.parametrize("name", PARTS)
def test_compiled_twice_is_bit_equal(name: str) -> None:
    first, second = updater(name), updater(name)
    a, b = run(first, compiled=True), run(second, compiled=True)
    assert all(mx.array_equal(a[key], b[key]).item() for key in a)
    assert all(mx.array_equal(array, second.arrays()[key]).item() for key, array in first.arrays().items())


@pytest.mark.parametrize("name", PARTS)
def test_state_round_trip(name: str) -> None:
    made, other = updater(name), updater(name)
    tree = run(made)
    other.load_arrays(made.arrays())
    a, b = made.apply(arrays(gradient(99)), tree), other.apply(arrays(gradient(99)), tree)
    assert all(mx.array_equal(a[key], b[key]).item() for key in a)
    assert other.state["step"].item() == STEPS + 1
    assert all(array.dtype == mx.float32 for key, array in made.arrays().items() if key != "step")


def test_plain_sgd_and_adafactor_keep_little_state() -> None:
    assert set(updater("sgd", momentum=0.0).arrays()) == {"step", "learning_rate"}
    kept = updater("adafactor").state["parameters"]["tall.weight"]
    assert {key: array.shape for key, array in kept.items()} == {"row": (12,), "column": (5,)}


def test_norms_and_biases_have_no_decay_unless_asked() -> None:
    model = SimpleNamespace(trainable_parameters=lambda: arrays(start()))
    plugin = Optimizers(Optimizers.Config())
    assert plugin.parameter_groups(model) == {"encoder.bias": {"weight_decay": 0.0}}
    assert Optimizers(Optimizers.Config(decay_norms_and_biases=True)).parameter_groups(model) is None
    settings = PARTS["adamw"].config(learning_rate=0.05, weight_decay=0.1)
    made = ParameterUpdater(PARTS["adamw"].build(settings), 0.05, 0.1, plugin.parameter_groups(model))
    made.init(arrays(start()))
    got = run(made)
    decayed, kept = run_reference(adam_rule(0.05, 0.1, 0.0)), run_reference(adam_rule(0.05, 0.0, 0.0))
    close(got, decayed | {"encoder.bias": kept["encoder.bias"]}, 5e-7)


@pytest.mark.parametrize("name", PARTS)
def test_scalars_stay_out_of_the_kernels_that_pass_over_parameters(name: str, tmp_path: Path) -> None:
    made = updater(name)
    after = mx.compile(made.apply, inputs=made.state, outputs=made.state)(arrays(gradient(1)), arrays(start()))
    graph = tmp_path / "graph.dot"
    mx.export_to_dot(str(graph), after, made.state["parameters"])
    kernels = re.findall(r'label *= *"(Compiled\w+)"', graph.read_text())
    # What an optimizer gives that does not keep values itself is looked at before it is selected.
    ends = ("SubtractSelect", "Subtract")
    passes = [kernel for kernel in kernels if kernel.endswith(ends) and kernel.count("Multiply") >= 2]
    assert passes
    assert not [kernel for kernel in passes if re.search("Expm1|Power|Maximum", kernel)]
    if name in {"adamw", "adam"}:
        assert len(passes) == len(SHAPES)  # one pass over each parameter


# -- Schedule-Free ----------------------------------------------------------------------------------------------------

FREE = np.load(Path(__file__).parents[1] / "fixtures" / "averaging" / "averaging.npz")


def free_rule(
    rates: list[float], decay: float, b1: float, b2: float, eps: float = 1e-8
) -> Callable[[list[Floats], Floats], tuple[Floats, Floats]]:
    """Algorithm 1 of the paper with AdamW's step, x kept by itself; returns y and x in float64."""

    def run_it(gradients: list[Floats], start: Floats) -> tuple[Floats, Floats]:
        x, y, z, v, weight, largest = start, start, start, np.zeros_like(start), 0.0, 0.0
        for number, (rate, g) in enumerate(zip(rates, gradients, strict=True), 1):
            v = b2 * v + (1 - b2) * g**2
            change = g / (np.sqrt(v / (1 - b2**number)) + eps) + decay * y
            z = z - rate * change
            largest = max(largest, rate)
            weight += largest**2
            share = largest**2 / weight if weight else 0.0
            x = (1 - share) * x + share * z
            y = (1 - b1) * z + b1 * x
        return y, x

    return run_it


def run_free(
    gradients: dict[str, Any], start: dict[str, Any], rates: list[float], *, compiled: bool, **options: Any
) -> tuple[dict[str, mx.array], dict[str, mx.array]]:
    settings = PARTS["schedule_free"].config(**options)
    made = ParameterUpdater(PARTS["schedule_free"].build(settings), 1.0, settings.weight_decay)
    tree = {name: mx.array(values.astype(np.float32)) for name, values in start.items()}
    made.init(tree)
    step = mx.compile(made.apply, inputs=made.state, outputs=made.state) if compiled else made.apply
    for number, rate in enumerate(rates):
        made.set_learning_rate(rate)
        tree = step({name: mx.array(values[number].astype(np.float32)) for name, values in gradients.items()}, tree)
        mx.eval(tree, made.state)
    optimizer = made._optimizer
    return tree, {name: optimizer.weights(tree[name], made.state["parameters"][name]) for name in tree}


@pytest.mark.parametrize("compiled", [True, False])
def test_schedule_free_is_the_authors_code_after_20_updates(compiled: bool) -> None:
    """The fixture is their AdamWScheduleFree in float64: 20 updates with a warm-up of 5 and weight decay."""

    def named(word: str) -> dict[str, Any]:
        return {name.removeprefix(f"{word}."): FREE[name] for name in FREE.files if name.startswith(f"{word}.")}

    gradients, start = named("gradient"), {name: values[0] for name, values in named("path").items()}
    rates = [0.05 * min(1.0, (number + 1) / 5) for number in range(20)]
    y, x = run_free(
        gradients, {name: start[name] for name in gradients}, rates, compiled=compiled,
        beta2=0.99, weight_decay=0.1,
    )  # fmt: skip
    # Numbers of size 1 and steps of 0.05: a few float32 roundings in each of 20 updates; x costs y's once more / 0.9.
    close(y, named("y"), 1e-6)
    close(x, named("x"), 1e-6)


@pytest.mark.parametrize("beta1", [0.5, 0.9, 1.0])
@pytest.mark.parametrize("warmup", [0, 5])
def test_schedule_free_is_the_papers_algorithm(beta1: float, warmup: int) -> None:
    rng = np.random.default_rng(2)
    start = rng.normal(size=(6, 4)).astype(np.float32).astype(np.float64)
    gradients = rng.normal(size=(20, 6, 4)).astype(np.float32).astype(np.float64)
    # A warm-up of stepbus begins with a rate of 0, so that the first step weighs nothing.
    rates = [0.05 * min(1.0, number / warmup) if warmup else 0.05 for number in range(20)]
    expected_y, expected_x = free_rule(rates, 0.1, beta1, 0.999)(list(gradients), start)
    options = {"beta1": beta1, "weight_decay": 0.1}
    y, x = run_free({"w": gradients}, {"w": start}, rates, compiled=True, **options)
    close(y, {"w": expected_y}, 1e-6)
    close(x, {"w": expected_x}, 2e-6)
    assert beta1 == 1 or np.abs(expected_x - expected_y).max() > 1e-3  # else they would say nothing


def test_schedule_free_weighs_by_the_square_of_the_largest_rate() -> None:
    """A mean that counted all steps alike, or by the rate of the moment, ends elsewhere by far more than roundings."""
    start, gradients = np.ones((3, 3)), np.ones((20, 3, 3))
    rates = [0.01] * 10 + [0.1] * 5 + [0.02] * 5
    _, expected = free_rule(rates, 0.0, 0.9, 0.999)(list(gradients), start)
    _, x = run_free({"w": gradients}, {"w": start}, rates, compiled=True, weight_decay=0.0)
    close(x, {"w": expected}, 1e-6)
    z = 1 - np.cumsum(rates)
    assert abs(z.mean() - expected[0, 0]) > 0.05
    assert abs(np.average(z, weights=np.square(rates)) - expected[0, 0]) > 0.05


def test_schedule_free_before_its_first_update_offers_the_weights_to_the_bit() -> None:
    settings = PARTS["schedule_free"].config()
    made = updater("schedule_free")
    tree = arrays(start())
    optimizer = PARTS["schedule_free"].build(settings)
    for name, array in tree.items():
        assert mx.array_equal(optimizer.weights(array, made.state["parameters"][name]), array).item()
    made.set_learning_rate(0.0)  # the first update of a warm-up
    after = made.apply(arrays(gradient(1)), tree)
    for name, array in tree.items():
        assert mx.array_equal(after[name], array).item()
        assert mx.array_equal(optimizer.weights(after[name], made.state["parameters"][name]), array).item()
    assert all(np.isfinite(np.array(array)).all() for array in made.arrays().values())


@pytest.mark.parametrize("schedule", ["linear", "cosine", "exponential", "polynomial"])
def test_schedule_free_with_a_schedule_is_a_problem_of_the_plan(schedule: str) -> None:
    def problems(optimizer: str, scheduler: str) -> Any:
        named = SimpleNamespace(optimizer=SimpleNamespace(name=optimizer), scheduler=SimpleNamespace(name=scheduler))
        return Optimizers(Optimizers.Config()).validate_plan(SimpleNamespace(config=named))

    (problem,) = problems("schedule_free", schedule)
    assert (problem.path, problem.message) == (
        "scheduler.type",
        f"expected constant beside optimizer.type: schedule_free, which averages in its place, got {schedule}; "
        "set scheduler: {type: constant, warmup_ratio: 0.1}, or take adamw",
    )
    assert (
        problems("schedule_free", "constant") == problems("schedule_free", "mine") == problems("adamw", schedule) == []
    )


@pytest.mark.parametrize("kind", ["adamw", "adam", "lion", "muon", "schedule_free"])
def test_a_decay_that_is_1_in_float32_is_refused(kind: str) -> None:
    """The nearest number of float32 to 1 - 1e-8 is 1, with which a running mean never takes in anything."""
    for beta, wrong in ((float(np.float32(1 - 1e-8)), True), (1 - 1e-8, True), (1.0 - 2**-24, False)):
        assert bool(np.float32(beta) == 1) is wrong
        tree = {"optimizer": {"type": kind, "beta2": beta}, "scheduler": "constant"}
        if wrong:
            with pytest.raises(ConfigError, match=r"optimizer\.beta2: expected a number from 0 up to, but not incl"):
                load_config(tree)
        else:
            assert load_config(tree).optimizer.settings.beta2 == beta


def test_two_rates_of_muon_whose_ratio_float32_does_not_hold() -> None:
    rates = {"learning_rate": 1e-30, "adamw_learning_rate": 1e10}
    with pytest.raises(ConfigError, match=r"optimizer\.adamw_learning_rate: expected a rate within 1e30 times the "):
        load_config({"optimizer": {"type": "muon", **rates}})
