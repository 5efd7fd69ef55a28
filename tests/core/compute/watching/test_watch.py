"""What looks at the arrays of a step: which is the first, in which rows, and what may be minus infinity."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest

from stepbus.compute.watching.findings import NotFinite
from stepbus.compute.watching.watch import Watch, watching

NAN, INF = float("nan"), float("inf")
BATCH = {"x": mx.ones((3, 2)), "weights": mx.ones(3)}


class Net(nn.Module):
    """Two layers, and between them something that no module does."""

    def __init__(self, between: Any = lambda x: x) -> None:
        super().__init__()
        self.layers = [nn.Linear(2, 4), nn.Linear(4, 2)]
        self.between = between

    def __call__(self, x: mx.array) -> mx.array:
        return self.layers[1](self.between(self.layers[0](x)))


def looked(net: nn.Module, x: Any = BATCH["x"], *, stops: bool = False, batch: Any = BATCH) -> Watch:
    watch = Watch(net, stops=stops)
    with watch.looking():
        watch.begins(batch)
        watch.computes()
        net(x)
    return watch


def at(array: mx.array, *places: Any, value: float = NAN) -> mx.array:
    changed = array + 0
    for place in places:
        changed[place] = value
    return changed


def test_all_finite_is_nothing() -> None:
    assert looked(Net()).found is None


def test_an_array_of_the_batch_comes_first_with_its_rows() -> None:
    batch = {**BATCH, "x": at(BATCH["x"], (2, 1), (0, 0), value=INF)}
    found = looked(Net(), batch["x"], batch=batch).found
    assert found is not None
    assert (found.kind, found.name, found.rows, found.nan, found.infinite) == ("batch", "x", (0, 2), 0, 2)
    assert (found.array, found.size) == ("float32 [3, 2]", 6)
    assert found.later.startswith("what layers.0 gives in the forward pass (Linear, layer 1 of 2) has ")


def test_what_is_given_so_and_mended_is_no_fault() -> None:
    """Labels that are missing, gaps that a layer fills: only where something follows are they the first."""
    filled = Net(lambda x: mx.nan_to_num(at(x, 0)))
    assert looked(filled, stops=True).found is None
    batch = {**BATCH, "labels": mx.array([0.0, NAN, 1.0])}
    watch = looked(filled, stops=True, batch=batch)
    assert watch.first is None
    with pytest.raises(NotFinite) as caught:
        watch.saw_losses(mx.array([0.0, NAN, 1.0]), whole=True)
    assert (caught.value.finding.name, caught.value.finding.rows) == ("labels", (1,))


def test_a_weight_comes_before_all_that_is_computed_with_it_and_has_its_layer() -> None:
    net = Net()
    net.layers[1].bias = at(net.layers[1].bias, 0)
    found = looked(net).found
    assert found is not None
    assert (found.kind, found.name, found.layer, found.rows) == ("weight", "layers.1.bias", "layer 2 of 2", ())


def test_what_a_module_gives_names_it_and_the_rows_that_are_not_finite() -> None:
    net = Net()
    net.layers[0].weight = net.layers[0].weight * 0 + 1e37
    found = looked(net, at(BATCH["x"], 1, value=100.0)).found
    assert found is not None
    assert (found.kind, found.name, found.module, found.rows) == ("activation", "layers.0", "Linear", (1,))


def test_what_is_made_between_modules_is_seen_where_it_is_given_to_the_next() -> None:
    found = looked(Net(lambda x: at(x, (2, 0)))).found
    assert found is not None
    assert (found.kind, found.name, found.layer, found.rows) == ("input", "layers.1", "layer 2 of 2", (2,))


def test_minus_infinity_may_be_a_mask_and_is_told_of_where_something_follows() -> None:
    masked = Net(lambda x: mx.maximum(at(x, 0, value=-INF), -1.0))
    assert looked(masked).found is None
    watch = looked(Net(lambda x: at(x, 0, value=-INF)), stops=False)
    assert watch.found is not None
    assert (watch.found.kind, watch.found.name) == ("activation", "layers.1")
    assert watch.found.earlier.startswith("what layers.1 is given (Linear, layer 2 of 2) has 4 infinite of 12 numbers")


def test_the_first_one_stops_the_computation_where_that_is_wished() -> None:
    with pytest.raises(NotFinite) as caught:
        looked(Net(lambda x: at(x, 1)), stops=True)
    assert caught.value.finding.kind == "input"
    assert watching() is None


@pytest.mark.parametrize("raises", [False, True])
def test_the_classes_of_modules_are_what_they_were_afterwards(raises: bool) -> None:
    class Own(nn.Linear):
        pass  # it has its call from the class above

    class Above(nn.Linear):
        def __call__(self, x: mx.array) -> mx.array:
            return super().__call__(x)

    net = Net()
    net.layers = [Own(2, 4), Above(4, 2)]
    before = [vars(cls).get("__call__") for cls in (Net, Own, Above, nn.Linear)]
    watch = Watch(net, stops=raises)
    try:
        with watch.looking():
            watch.begins(BATCH)
            watch.computes()
            seen = type(net.layers[0])
            net(at(BATCH["x"], 0))
    except NotFinite:
        assert raises
    assert seen is Own  # whoever asks for the class of a module finds it
    assert [vars(cls).get("__call__") for cls in (Net, Own, Above, nn.Linear)] == before
    assert watch.found is not None


def test_rows_that_a_model_computes_in_parts_are_those_of_the_batch() -> None:
    class Halves(Net):
        def __call__(self, x: mx.array) -> mx.array:
            return mx.concatenate([super().__call__(x[:2]), super().__call__(x[2:])])

    net = Halves()
    net.layers[0].weight = net.layers[0].weight * 0 + 1e37
    found = looked(net, at(BATCH["x"], 2, value=100.0)).found
    assert found is not None
    assert found.rows == (2,)


class Parts(Net):
    """Rows computed in parts, by their numbers."""

    ends = (1, 3)

    def __call__(self, x: mx.array) -> mx.array:
        begins = (0, *self.ends[:-1])
        return mx.concatenate([super(Parts, self).__call__(x[a:b]) for a, b in zip(begins, self.ends, strict=True)])


def test_what_is_computed_in_parts_is_counted_as_a_whole() -> None:
    net = Parts()
    net.layers[0].weight = net.layers[0].weight * 0 + 1e37
    found = looked(net, at(BATCH["x"], 0, 2, value=100.0)).found
    assert found is not None
    assert (found.name, found.infinite, found.size, found.array) == ("layers.0", 8, 12, "float32 [3, 4]")
    assert found.rows == (0, 2)


def test_the_first_array_of_all_parts_is_the_first() -> None:
    """The rows of the second part fail in the first layer, those of the first part in the second."""
    net = Parts()
    net.layers[0].weight = net.layers[0].weight * 0 + 1.0
    net.layers[1].weight = net.layers[1].weight * 0 + 1e36
    x = mx.array([[100.0, 0.0], [1.0, 0.0], [3e38, 3e38]])
    found = looked(net, x).found
    assert found is not None
    assert (found.name, found.infinite, found.array, found.rows) == ("layers.0", 4, "float32 [3, 4]", (2,))


def test_what_follows_of_rows_in_parts_is_a_whole_too() -> None:
    batch = {**BATCH, "x": at(BATCH["x"], (2, 1), (0, 0), value=INF)}
    found = looked(Parts(), batch["x"], batch=batch).found
    assert found is not None
    assert (found.kind, found.name) == ("batch", "x")
    assert found.later.endswith("has 8 infinite of 12 numbers, float32 [3, 4]")


def test_a_module_that_is_called_twice_is_looked_at_once() -> None:
    class Twice(Net):
        def __call__(self, x: mx.array) -> mx.array:
            return self.layers[0](self.layers[1](self.layers[0](x)))

    found = looked(Twice(), at(BATCH["x"], 1)).found
    assert found is not None
    assert (found.nan, found.size, found.array) == (2, 6, "float32 [3, 2]")


def test_inside_of_what_a_model_compiles_itself_nothing_is_known_and_nothing_breaks() -> None:
    class Compiled(Net):
        def __call__(self, x: mx.array) -> mx.array:
            return mx.compile(super().__call__)(x)

    net = Compiled(lambda x: x / 0.0)
    found = looked(net).found
    assert found is not None
    assert (found.kind, found.name) == ("activation", "")  # what comes out of it is known again


def test_losses_are_kept_by_batch_of_the_window() -> None:
    watch = Watch(Net(), stops=False)
    for losses in ([0.0, NAN, 1.0], [0.0, 1.0, 2.0], [INF, 1.0, NAN]):
        watch.begins(BATCH)
        watch.computes()
        watch.saw_losses(mx.array(losses), whole=True)
    assert watch.losses == {0: (1,), 2: (0, 2)}
    assert watch.found is not None
    assert (watch.found.kind, watch.found.rows, watch.found.batch) == ("loss", (1,), 0)


def test_gradients_that_may_overflow_are_not_looked_at() -> None:
    for scaled, kind in ((True, None), (False, "gradient")):
        watch = Watch(Net(), stops=False, scaled=scaled)
        watch.saw_tree("gradient", {"layers": [{"bias": mx.array([INF])}]})
        assert (watch.found and watch.found.kind) == kind
