"""Class numbers and tokens are held against what the model has, before any of them reaches a kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest

from stepbus import DataError, create_model
from stepbus.fit.loaders.batches import checked
from stepbus.fit.loaders.index_checks import Classes, token_check
from stepbus.fit.loaders.look_ups import look_ups

# After the fast BLAS.
import mlx.core as mx  # isort: skip
import mlx.nn as nn  # isort: skip

HERE = "train: epoch 1, batch 1"


def labels(*numbers: int) -> Any:
    return checked({"x": np.zeros(len(numbers)), "labels": list(numbers)}, HERE, 0, labelled=True)


def test_labels_are_compared_as_soon_as_the_classes_are_known() -> None:
    classes = Classes()
    classes.check(labels(0, 3), "batch 1")
    classes.check(labels(0, 7), "batch 2")
    with pytest.raises(DataError, match=r"^batch 2: labels: expected class numbers below 5, .* got 7"):
        classes.learn((2, 5))
    classes.check(labels(0, 4), "batch 3")
    with pytest.raises(DataError, match=r"^batch 4: labels: .* got 5"):
        classes.check(labels(5), "batch 4")
    classes.check(checked({"x": [0.0]}, HERE, 0, labelled=False), "batch 5")


ONE = r"^batch 1: labels: expected class numbers below 1, .* looks them up, got 1; give it 2 outputs, or take a loss"


def by_place(outputs: Any, labels: Any) -> Any:
    return -outputs[mx.arange(len(labels)), labels].mean()


def by_safe_place(outputs: Any, labels: Any) -> Any:
    return -mx.take_along_axis(outputs, mx.maximum(labels, 0)[:, None], axis=1).mean()


class Weighed:
    """A loss that is an object."""

    def __call__(self, outputs: Any, labels: Any) -> Any:
        return nn.losses.cross_entropy(outputs, labels) * mx.array([2.0])


LOOKING = [nn.losses.cross_entropy, nn.losses.nll_loss, by_place, by_safe_place, Weighed()]
LOOKING += [partial(nn.losses.cross_entropy, reduction="mean"), mx.compile(by_place)]


@pytest.mark.parametrize("loss", LOOKING)
@pytest.mark.parametrize("task", ["binary", "multiclass", None])
def test_one_output_is_one_class_where_the_loss_looks_labels_up(loss: Any, task: str | None) -> None:
    classes = Classes.of_loss(nn.Linear(3, 1), loss, task)
    assert classes is not None
    classes.check(labels(0, 1), "batch 1")
    with pytest.raises(DataError, match=ONE):
        classes.learn((2, 1))
    wide = Classes.of_loss(nn.Linear(3, 1), loss, task)
    assert wide is not None
    wide.check(labels(0, 1), "batch 1")
    wide.learn((2, 2))
    # Of numbers that are computed from labels nobody knows how far they may go.
    assert wide.known == (None if loss is by_safe_place and task is None else 2)


@pytest.fixture
def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """MLX as it is where a GPU is the default device: its cross-entropy is one operation, which shows no look-up."""
    device, stream = [mx.Device(mx.gpu)], mx.stream

    @contextmanager
    def on(wanted: Any) -> Iterator[None]:
        before, device[0] = device[0], mx.Device(wanted)
        with stream(wanted):
            yield
        device[0] = before

    monkeypatch.setattr(mx, "default_device", lambda: device[0])
    monkeypatch.setattr(mx, "stream", on)
    monkeypatch.setattr(mx.fast, "cross_entropy", lambda logits, targets: mx.logsumexp(logits, -1) - targets)
    return device


@pytest.mark.parametrize("task", ["binary", "multiclass", None])
def test_on_a_gpu_labels_are_looked_up_as_on_the_cpu(task: str | None, on_a_gpu: list[Any]) -> None:
    """Labels passed unchecked there whose loss did not name MLX's in its own code."""
    before = np.array(nn.losses.cross_entropy(mx.zeros((2, 3)), mx.array([0, 1])))
    assert before.tolist() == pytest.approx([np.log(3), np.log(3) - 1])  # the one operation, as it is put in above
    test_one_output_is_one_class_where_the_loss_looks_labels_up(Weighed(), task)
    test_labels_that_a_loss_moves_are_held_against_the_outputs_from_there(stars, 1)
    assert on_a_gpu == [mx.Device(mx.gpu)]


def test_one_output_is_two_classes_where_nothing_is_looked_up() -> None:
    def squared(outputs: Any, labels: Any) -> Any:
        return ((outputs.reshape(-1) - labels) ** 2).mean()

    for loss in (squared, lambda out, labels: nn.losses.binary_cross_entropy(out.reshape(-1), labels)):
        classes = Classes.of_loss(nn.Linear(3, 1), loss, "binary")
        assert classes is not None
        classes.check(labels(0, 1), "batch 1")
        classes.learn((2, 1))
        assert classes.known == 2


def test_a_loss_that_cannot_be_traced_is_judged_by_its_names() -> None:
    def printed(outputs: Any, labels: Any) -> Any:
        labels.tolist()
        return nn.losses.cross_entropy(outputs, labels)

    classes = Classes.of_loss(nn.Linear(3, 1), printed, "binary")
    assert classes is not None
    classes.check(labels(0, 1), "batch 1")
    with pytest.raises(DataError, match=ONE):
        classes.learn((2, 1))


def test_labels_before_the_first_output_are_refused_where_a_loss_looks_them_up() -> None:
    classes = Classes.of_loss(nn.Linear(3, 2), by_place)
    assert classes is not None
    classes.check(labels(0, -1), "batch 1")  # counted from the end
    classes.check(labels(0, -100), "batch 2")
    with pytest.raises(DataError, match=r"^batch 2: labels: expected class numbers from 0, .* got -100; leave such"):
        classes.learn((2, 2))
    safe = Classes.of_loss(nn.Linear(3, 2), by_safe_place, "multiclass")
    assert safe is not None
    safe.check(labels(0, -100), "batch 1")
    safe.learn((2, 2))


def stars(outputs: Any, labels: Any) -> Any:
    return nn.losses.cross_entropy(outputs, labels - 1)


@pytest.mark.parametrize(
    ("loss", "first"),
    [
        (stars, 1),
        (lambda out, labels: nn.losses.cross_entropy(out, -2 + labels.astype(mx.int32)), 2),
        (lambda out, labels: by_place(out, labels + 1), -1),
        (lambda out, labels: nn.losses.cross_entropy(out, labels[:, None].squeeze(-1) - mx.array([3]) + 2), 1),
    ],
)
def test_labels_that_a_loss_moves_are_held_against_the_outputs_from_there(loss: Any, first: int) -> None:
    """Five outputs for one to five stars, say."""
    classes = Classes.of_loss(nn.Linear(3, 5), loss, "multiclass")
    assert classes is not None
    classes.check(labels(first, first + 4), "batch 1")
    with pytest.raises(DataError, match=rf"^batch 1: labels: .* from 0, as metrics .* for the label {first}; move"):
        classes.learn((2, 5))
    classes = Classes.of_loss(nn.Linear(3, 5), loss)
    assert classes is not None
    classes.check(labels(first, first + 4), "batch 1")
    classes.learn((2, 5))
    end = first + 5
    with pytest.raises(DataError, match=rf"^batch 2: .* below {end}, .* 5 outputs from {first}, among .* got {end}$"):
        classes.check(labels(first, first + 5), "batch 2")
    with pytest.raises(DataError, match=rf"^batch 3: labels: expected class numbers from {first}, .* got -100; leave"):
        classes.check(labels(first, -100), "batch 3")


def test_labels_computed_in_another_way_are_no_places_that_are_known() -> None:
    for loss in (lambda out, labels: by_place(out, labels // 2), lambda out, labels: by_place(out, 1 - labels)):
        found = look_ups(loss, (2, 5), (2,))
        assert found is not None
        assert (found.places, found.computed) == (None, 5)


def test_a_column_of_labels_beside_one_output_is_no_probability() -> None:
    classes = Classes.of_loss(nn.Linear(3, 1), nn.losses.cross_entropy)
    assert classes is not None
    classes.check(checked({"x": [0.0, 1], "labels": [[0], [1]]}, HERE, 0, labelled=True), "batch 1")
    with pytest.raises(DataError, match=ONE):
        classes.learn((2, 1))


def test_truth_values_are_no_places() -> None:
    given = checked({"x": [0.0, 1], "labels": [True, False]}, HERE, 0, labelled=True)
    classes = Classes.of_loss(nn.Linear(3, 2), by_place)
    assert classes is not None
    classes.check(given, "batch 1")
    with pytest.raises(DataError, match=r"^batch 1: labels: expected class numbers from 0, .* got bool values; turn"):
        classes.learn((2, 2))
    classes = Classes.of_loss(nn.Linear(3, 2), lambda out, labels: mx.where(labels, out[:, 0], 0))
    assert classes is not None
    classes.check(given, "batch 1")
    classes.learn((2, 2))
    assert classes.known is None


def squared_distance(outputs: Any, labels: Any) -> Any:
    return mx.square(2 * outputs - (labels - 1)).mean()


def weighed_distance(outputs: Any, labels: Any) -> Any:
    return mx.where(labels > 0, mx.abs(outputs - labels), 0).mean()


def pairs(outputs: Any, labels: Any) -> Any:
    """Every row is meant to meet every other one."""
    said, wanted = outputs.reshape(-1), labels.reshape(-1)
    return mx.maximum(0, (said[:, None] - said[None]) * mx.sign(wanted[None] - wanted[:, None])).mean()


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("loss", [lambda out, labels: mx.abs(out - labels).mean(), squared_distance, weighed_distance])
def test_labels_that_would_meet_all_rows_are_refused(loss: Any, whole: bool) -> None:
    given = np.arange(4) if whole else np.arange(4) / 2
    for outputs, column in (((4, 1), False), ((4,), True)):
        classes = Classes.of_loss(nn.Linear(3, 1), loss)
        assert classes is not None
        said = given[:, None] if column else given
        classes.check(checked({"x": given, "labels": said}, HERE, 0, labelled=True), HERE)
        with pytest.raises(
            DataError, match=r"^train: labels: expected the shape of the outputs, \[4.*each label would"
        ):
            classes.learn(outputs)
        for kind in ("one shape", "one row"):
            classes = Classes.of_loss(nn.Linear(3, 1), loss)
            assert classes is not None
            rows = 1 if kind == "one row" else 4
            batch = {"x": given[:rows], "labels": given[:rows].reshape(said[:rows].shape if rows == 1 else outputs)}
            classes.check(checked(batch, HERE, 0, labelled=True), HERE)
            classes.learn((rows, *outputs[1:]))


@pytest.mark.parametrize("loss", [pairs, lambda out, labels: mx.abs(out[:, 0] - labels)])
def test_a_loss_of_pairs_is_none_of_these(loss: Any) -> None:
    found = look_ups(loss, (4, 1), (4,), whole=False)
    assert found is not None
    assert not found.crossed


def test_looking_at_a_loss_draws_no_random_numbers() -> None:
    mx.random.seed(1)
    wanted = mx.random.uniform(shape=(4,)).tolist()
    mx.random.seed(1)
    found = look_ups(lambda out, labels: by_place(out + mx.random.uniform(shape=out.shape), labels), (2, 5), (2,))
    assert found is not None
    assert found.places == 5
    assert mx.random.uniform(shape=(4,)).tolist() == wanted


@pytest.mark.parametrize("given", [[True, False], [0.5, 1.0], [0.0, 1.0]])
def test_labels_that_are_no_class_numbers_are_refused_where_mlx_looks_them_up(given: Any) -> None:
    classes = Classes.of_loss(nn.Linear(3, 2), nn.losses.cross_entropy)
    assert classes is not None
    with pytest.raises(DataError, match=r"^batch 1: labels: expected class numbers from 0.* got \w+ values; turn them"):
        classes.check(checked({"x": [0.0, 1], "labels": np.array(given)}, HERE, 0, labelled=True), "batch 1")


@pytest.mark.parametrize("shape", [(8,), (8, 1), (8, 2)])
def test_one_output_is_for_two_classes(shape: tuple[int, ...]) -> None:
    classes = Classes()
    classes.learn(shape)
    assert classes.known == 2


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"input_ids": None}, r"expected input_ids \[B, L\], which the model computes with, got none"),
        ({"attention_mask": None}, r"expected attention_mask \[B, L\]"),
        ({"attention_mask": np.ones((2, 3))}, r"attention_mask: expected \[B, L\] like input_ids, got \[2, 3\]"),
        ({"input_ids": np.full((2, 4), 99)}, r"input_ids: expected numbers from 0 to \d+ \(vocab_size\), got 99"),
        ({"input_ids": np.full((2, 4), -1)}, r"input_ids: expected numbers from 0 to \d+ \(vocab_size\), got -1"),
        ({"input_ids": np.ones((2, 4))}, "input_ids: expected whole numbers, got float32 values"),
        (
            {"token_type_ids": np.full((2, 4), 7)},
            r"token_type_ids: expected numbers from 0 to 1 \(type_vocab_size\)",
        ),
        ({"labels": [0, 2]}, r"labels: expected numbers from 0 to 1 \(the model's outputs\), got 2"),
        ({"labels": [[0], [1]]}, r"labels: expected class numbers \[B\], got the shape \[2, 1\]"),
        (
            {"input_ids": np.ones((2, 40), int), "attention_mask": np.ones((2, 40))},
            "expected at most 32 tokens a row, the positions of the model, got 40",
        ),
    ],
)
def test_tokens(changed: dict[str, Any], said: str, tiny_config: Callable[..., dict[str, Any]]) -> None:
    section = {name: value for name, value in tiny_config()["model"].items() if name != "type"}
    check = token_check(create_model("bert", **section))
    good = {"input_ids": np.ones((2, 4), int), "attention_mask": np.ones((2, 4)), "labels": [0, 1]}
    check(checked(good, HERE, 0, labelled=True), HERE)
    with pytest.raises(DataError, match=f"^{HERE}: {said}"):
        check(checked({**good, **changed}, HERE, 0, labelled=True), HERE)


def test_targets_of_other_heads(tiny_config: Callable[..., dict[str, Any]]) -> None:
    section = {name: value for name, value in tiny_config()["model"].items() if name != "type"}
    check = token_check(create_model("bert", head_type="multilabel", num_labels=3, **section))
    good = {"input_ids": np.ones((2, 4), int), "attention_mask": np.ones((2, 4)), "labels": np.ones((2, 3))}
    check(checked(good, HERE, 0, labelled=True), HERE)
    with pytest.raises(DataError, match="labels: expected 3 a row, as many as the model has outputs"):
        check(checked({**good, "labels": np.ones((2, 2))}, HERE, 0, labelled=True), HERE)
