"""The updater: groups, state, checkpoints, streams, and the compiled step around it."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

import stepbus.compute.stepping.updater as module
from stepbus import CheckpointError, Optimizer, ParameterUpdater, PluginError, SchedulerSettings, no_decay_names
from stepbus.compute.scheduler import Scheduler, warmup_steps


class Recorded(Optimizer):
    """Momentum without any subtlety: m = g + m / 2, p = p·(1 - wd) - rate·step·m."""

    def init(self, parameter: mx.array) -> dict[str, mx.array]:
        return {"m": mx.zeros_like(parameter)}

    def update(self, parameter: mx.array, gradient: mx.array, state: Any, scalars: Any) -> Any:
        assert all(array.dtype == mx.float32 for array in (parameter, gradient, *scalars.values()))
        assert all(scalar.shape == () for scalar in scalars.values())
        m = gradient + state["m"] / 2
        kept = 1 - scalars["weight_decay"]
        return parameter * kept - scalars["learning_rate"] * scalars["step"] * m, {"m": m}


def parameters() -> dict[str, Any]:
    return {"table": mx.ones((3, 2)), "layers": [{"weight": mx.ones((2, 2))}, {"bias": mx.ones((2,))}]}


def ones() -> dict[str, Any]:
    return {"table": mx.ones((3, 2)), "layers": [{"weight": mx.ones((2, 2))}, {"bias": mx.ones((2,))}]}


def updater(groups: Any = None, rate: float = 0.5) -> ParameterUpdater:
    made = ParameterUpdater(Recorded(), rate, 0.25, groups)
    made.init(parameters())
    return made


def test_state_is_a_tree_of_step_rate_and_parameters() -> None:
    made = updater()
    assert list(made.state) == ["step", "learning_rate", "parameters", "counts", "plugins"]
    assert (made.state["step"].dtype, made.state["step"].shape, made.state["step"].item()) == (mx.int32, (), 0)
    assert (made.state["learning_rate"].dtype, made.state["learning_rate"].item()) == (mx.float32, 0.5)
    assert list(made.state["parameters"]) == ["table", "layers.0.weight", "layers.1.bias"]


def test_apply_counts_steps_and_keeps_the_tree() -> None:
    made = updater()
    after = made.apply(ones(), parameters())
    after = made.apply(ones(), after)
    # 1·0.75 - 0.5·1·1 = 0.25; 0.25·0.75 - 0.5·2·1.5 = -1.3125
    assert after["table"].tolist() == [[-1.3125] * 2] * 3
    assert after["layers"][1]["bias"].tolist() == [-1.3125] * 2
    assert made.state["step"].item() == 2


def test_parameters_may_be_more_than_the_gradients() -> None:
    made, mine = updater(), parameters() | {"frozen": mx.ones((1,))}
    assert list(made.apply({"table": mx.ones((3, 2))}, mine)) == ["table"]


def test_groups_give_single_parameters_their_own_settings() -> None:
    made = updater({"layers.1.bias": {"weight_decay": 0.0}, "table": {"learning_rate_scale": 0.5}})
    after = made.apply(ones(), parameters())
    assert after["layers"][1]["bias"].tolist() == [0.5, 0.5]
    assert after["layers"][0]["weight"].tolist() == [[0.25, 0.25]] * 2
    assert after["table"].tolist() == [[0.5, 0.5]] * 3


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"layers.1.bais": {}}, r"names 'layers\.1\.bais' \(did you mean 'layers\.1\.bias'\?\), expected a parameter"),
        (
            {"table": {"weight_deca": 0.0}},
            r"a 'weight_deca' \(did you mean 'weight_decay'\?\), expected weight_decay",
        ),
    ],
)
def test_a_group_that_fits_nothing_is_an_error(groups: Any, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        updater(groups)


def test_scalars_are_asked_for_once_for_each_group() -> None:
    asked = []

    class Counted(Recorded):
        def scalars(self, learning_rate: mx.array, weight_decay: float, step: mx.array) -> Any:
            asked.append(weight_decay)
            return super().scalars(learning_rate, weight_decay, step)

    many = {f"p{k}": mx.ones((4,)) for k in range(40)}
    made = ParameterUpdater(Counted(), 0.1, 0.25, {"p3": {"weight_decay": 0.0}, "p7": {"weight_decay": 0.0}})
    made.init(many)
    made.apply(many, many)
    assert set(asked) == {0.0, 0.25}
    assert len(asked) <= 4  # two groups, on each of at most two streams


def test_a_group_may_name_a_frozen_parameter() -> None:
    made = ParameterUpdater(Recorded(), 0.1, groups={"frozen": {"weight_decay": 0.0}})
    made.init(parameters(), frozen=["frozen"])
    assert "frozen" not in made.state["parameters"]


def test_the_base_rate_is_a_number_apart_from_the_rate_in_use() -> None:
    made = updater(rate=0.1)
    made.set_learning_rate(0.025)
    assert (made.learning_rate, made.state["learning_rate"].item()) == (0.1, np.float32(0.025))
    made.learning_rate = 0.3
    assert made.state_dict() == {"learning_rate": 0.3}
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="expected a finite base learning rate"):  # the bus says whose hook it is
            made.learning_rate = wrong


def test_half_precision_parameters_are_updated_in_float32() -> None:
    made, half = ParameterUpdater(Recorded(), 0.5), {"w": mx.ones((2, 2), dtype=mx.bfloat16)}
    made.init(half)
    after = made.apply({"w": mx.ones((2, 2), dtype=mx.bfloat16)}, half)
    assert after["w"].dtype == mx.bfloat16
    assert made.state["parameters"]["w"]["m"].dtype == mx.float32


def trained(made: ParameterUpdater, tree: Any, steps: range) -> Any:
    """Run a compiled step as the engine does: the rate from outside, the state captured."""
    step = mx.compile(made.apply, inputs=made.state, outputs=made.state)
    for number in steps:
        made.set_learning_rate(0.01 / (1 + number))
        tree = step({name: mx.sin(array * (number + 1)) for name, array in tree.items()}, tree)
        mx.eval(tree, made.state)
    return tree


def flat_parameters() -> dict[str, mx.array]:
    rng = np.random.default_rng(0)
    return {f"p{k}": mx.array(rng.normal(size=(40, 7 + k)).astype(np.float32)) for k in range(5)}


def test_a_resumed_compiled_run_is_bit_equal() -> None:
    whole = ParameterUpdater(Recorded(), 0.01, 0.1)
    whole.init(flat_parameters())
    expected = trained(whole, flat_parameters(), range(6))
    for cut in range(7):
        first = ParameterUpdater(Recorded(), 0.01, 0.1)
        first.init(flat_parameters())
        half = trained(first, flat_parameters(), range(cut))
        second = ParameterUpdater(Recorded(), 0.99, 0.1)
        second.init(half)
        second.load_arrays(first.arrays())
        second.load_state_dict(first.state_dict())
        assert second.learning_rate == 0.01
        got = trained(second, half, range(cut, 6))
        assert all(mx.array_equal(got[name], expected[name]).item() for name in expected)
        assert all(mx.array_equal(second.arrays()[name], array).item() for name, array in whole.arrays().items())
        if 0 < cut < 6:  # the negative control: without its state the run goes elsewhere
            third = ParameterUpdater(Recorded(), 0.01, 0.1)
            third.init(half)
            lost = trained(third, half, range(cut, 6))
            assert not all(mx.array_equal(lost[name], expected[name]).item() for name in expected)


def test_loading_happens_in_place_so_captured_state_stays() -> None:
    made = updater()
    state, inner = made.state, made.state["parameters"]
    made.load_arrays({name: mx.ones_like(array) for name, array in made.arrays().items()})
    assert made.state is state
    assert made.state["parameters"] is inner
    assert made.state["step"].item() == 1


def test_arrays_that_do_not_fit_are_named() -> None:
    made = updater()
    names = [
        "step",
        "learning_rate",
        "parameters.table.m",
        "parameters.layers.0.weight.m",
        "parameters.layers.1.bias.m",
    ]
    assert list(made.arrays()) == names
    wrong = made.arrays()
    del wrong["parameters.table.m"]
    wrong |= {"parameters.layers.1.bias.m": mx.zeros((3,)), "step": mx.array(1.0), "parameters.other.m": mx.zeros((1,))}
    with pytest.raises(CheckpointError) as caught:
        made.load_arrays(wrong)
    assert str(caught.value) == (
        "the optimizer's state fits neither this optimizer nor this model: step: expected mlx.core.int32 [], got "
        "mlx.core.float32 []; parameters.table.m: missing; parameters.layers.1.bias.m: expected mlx.core.float32 [2], "
        "got mlx.core.float32 [3]; parameters.other.m: unexpected"
    )
    assert made.state["step"].item() == 0  # nothing was taken over


def test_two_streams_give_the_bits_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    two = ParameterUpdater(Recorded(), 0.01, 0.1)
    two.init(flat_parameters())
    monkeypatch.setattr(module, "shared_out", lambda flat: {})
    one = ParameterUpdater(Recorded(), 0.01, 0.1)
    one.init(flat_parameters())
    a, b = trained(one, flat_parameters(), range(3)), trained(two, flat_parameters(), range(3))
    assert all(mx.array_equal(a[name], b[name]).item() for name in a)


def test_streams_share_the_work_on_cpu() -> None:
    if mx.default_device() != mx.Device(mx.cpu):
        pytest.skip("streams are for the CPU backend")
    flat = {"big": mx.zeros((100,)), "half": mx.zeros((60,)), "rest": mx.zeros((30,))}
    shared = module.shared_out(flat)
    assert shared["big"] != shared["half"]
    assert shared["half"] == shared["rest"]


def test_map_reaches_every_array() -> None:
    doubled = updater().map(lambda array: array * 2, ones())
    assert doubled["table"].tolist() == [[2.0, 2.0]] * 3
    assert doubled["layers"][1]["bias"].tolist() == [2.0, 2.0]


def test_names_without_decay() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(5, 4)
            self.dense = nn.Linear(4, 4)
            self.norm = nn.LayerNorm(4)
            self.scale = mx.ones((4,))

    names = no_decay_names(Block().trainable_parameters())
    assert sorted(names) == ["dense.bias", "norm.bias", "norm.weight", "scale"]
    assert no_decay_names({"LayerNorm": {"weight": mx.ones((6, 4))}, "stacked_bias": mx.ones((6, 4))}) == [
        "LayerNorm.weight",
        "stacked_bias",
    ]


def test_base_classes_say_what_is_left_to_fill_in() -> None:
    with pytest.raises(NotImplementedError):
        Optimizer().init(mx.zeros(1))
    with pytest.raises(NotImplementedError):
        Optimizer().update(mx.zeros(1), mx.zeros(1), {}, {})
    with pytest.raises(NotImplementedError):
        Scheduler(SchedulerSettings()).rate(0, 10, 1.0)


@pytest.mark.parametrize(
    ("options", "total", "expected"),
    [({}, 100, 0), ({"warmup_steps": 7}, 100, 7), ({"warmup_ratio": 0.1}, 101, 11), ({"warmup_ratio": 0.5}, 1, 1)],
)
def test_length_of_the_warm_up(options: Any, total: int, expected: int) -> None:
    assert warmup_steps(SchedulerSettings(**options), total) == expected


# -- updates that are skipped -----------------------------------------------------------------------------------------


class Selecting(Recorded):
    """Keeps its values itself."""

    skips = True

    def update(self, parameter: mx.array, gradient: mx.array, state: Any, scalars: Any) -> Any:
        new, after = super().update(parameter, gradient, state, {n: a for n, a in scalars.items() if n != "finite"})
        finite = scalars["finite"]
        return mx.where(finite, new, parameter), {"m": mx.where(finite, after["m"], state["m"])}


class Heir(Selecting):
    """Has an update of its own, which keeps nothing."""

    def update(self, parameter: mx.array, gradient: mx.array, state: Any, scalars: Any) -> Any:
        return parameter - gradient, {"m": gradient}


class InPlace(Recorded):
    """Writes into what it is given."""

    def scalars(self, rate: Any, weight_decay: float, step: Any) -> Any:
        rate *= 0.5
        return {"rate": rate}

    def update(self, parameter: mx.array, gradient: mx.array, state: Any, scalars: Any) -> Any:
        state["m"] += gradient
        scalars["rate"] *= 2
        parameter -= scalars["rate"] * gradient
        return parameter, state


def test_what_an_optimizer_writes_into_is_its_own() -> None:
    """The rate doubled from parameter to parameter, and a skipped update moved them all."""
    made = ParameterUpdater(InPlace(), 0.5)
    made.init(parameters())
    made.set_learning_rate(0.5)
    skipped = made.apply(ones(), parameters(), mx.array(False))
    assert np.array(skipped["table"]).tolist() == [[1.0, 1.0]] * 3
    assert all((np.array(state["m"]) == 0).all() for state in made.state["parameters"].values())
    new = made.apply(ones(), parameters(), mx.array(True))
    assert [
        np.array(new["table"])[0, 0],
        *(np.array(new["layers"][at][name]).flat[0] for at, name in ((0, "weight"), (1, "bias"))),
    ] == [0.5] * 3
    assert made.state["learning_rate"].item() == 0.5


@pytest.mark.parametrize("kind", [Recorded, Selecting, Heir, InPlace])
@pytest.mark.parametrize("finite", [True, False])
def test_a_skipped_update_keeps_every_value_whoever_selects(kind: Any, finite: bool) -> None:
    made = ParameterUpdater(kind(), 0.5, 0.25)
    made.init(parameters())
    first = made.apply(ones(), parameters(), mx.array(True))
    before = {name: np.array(array) for name, array in made.arrays().items()}
    second = made.apply(ones(), first, mx.array(finite))
    after = {name: np.array(array) for name, array in made.arrays().items()}
    assert kind().keeps_itself() == (kind is Selecting)
    same = [np.array_equal(before[name], after[name]) for name in before if name != "learning_rate"]
    assert all(same) if not finite else not any(same[:1])
    assert np.array_equal(np.array(first["table"]), np.array(second["table"])) == (not finite)
    assert int(made.state["step"]) == 1 + finite


class Mixed(Optimizer):
    """One parameter of an optimizer that divides by its gradient, the others of one that keeps values itself."""

    class Divides(Recorded):
        def update(self, parameter: mx.array, gradient: mx.array, state: Any, scalars: Any) -> Any:
            return parameter - 1 / gradient, {"m": gradient}

    def for_parameter(self, name: str, parameter: mx.array) -> Optimizer:
        return Mixed.Divides() if name == self.divides else Selecting()

    divides = "table"


@pytest.mark.parametrize("divides", ["table", "layers.1.bias"])  # before the others, and behind them
@pytest.mark.parametrize("slope", [0.0, 2.0])
def test_what_one_parameter_would_become_decides_for_all(slope: float, divides: str) -> None:
    made = ParameterUpdater(type("Mixed", (Mixed,), {"divides": divides})(), 0.5)
    made.init(parameters())
    made.set_learning_rate(0.5)
    before = {name: np.array(array) for name, array in made.arrays().items()}
    gradients = {"table": mx.full((3, 2), slope), "layers": [{"weight": mx.ones((2, 2))}, {"bias": mx.full(2, slope)}]}
    new, done = made.applied(gradients, parameters())
    assert bool(np.array(done)) == bool(slope)
    weight, moved = np.array(new["layers"][0]["weight"]), np.array(made.state["step"]) == 1
    assert moved == bool(slope)
    assert (weight == (0.5 if slope else 1.0)).all()
    divided = new["table"] if divides == "table" else new["layers"][1]["bias"]
    assert (np.array(divided) == (0.5 if slope else 1.0)).all()
    if not slope:
        assert all(np.array_equal(before[name], np.array(array)) for name, array in made.arrays().items())
