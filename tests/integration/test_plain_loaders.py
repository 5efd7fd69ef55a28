"""A small MLP on scikit-learn's digits from plain loaders: trained, evaluated, cut, resumed, used again."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepbus import (
    BadInput,
    CheckpointError,
    ModelError,
    create_model,
    create_trainer,
    hookimpl,
    open_trainer,
    write_predictions,
)
from stepbus.device import backend as backend

# After the fast BLAS.
import mlx.core as mx  # isort: skip
import mlx.nn as nn  # isort: skip
import mlx.optimizers as optim  # isort: skip
from mlx.utils import tree_flatten  # isort: skip

Batches = list[dict[str, Any]]


class MLP(nn.Module):
    """Images [B, 64] to logits [B, 10]."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.hidden, self.out, self.dropout = nn.Linear(64, 32), nn.Linear(32, 10), nn.Dropout(dropout)

    def __call__(self, images: mx.array) -> mx.array:
        return self.out(self.dropout(nn.relu(self.hidden(images))))


class OwnLoss(MLP):
    """Returns its loss, and outputs beside it."""

    def __call__(self, images: mx.array, labels: mx.array | None = None) -> Any:
        logits = super().__call__(images)
        return logits if labels is None else (nn.losses.cross_entropy(logits, labels), logits)


def digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(7).permutation(len(labels))
    return (images / 16).astype(np.float32)[order], labels[order].astype(np.int32)


IMAGES, LABELS = digits()


def batch(rows: np.ndarray) -> dict[str, Any]:
    return {"images": IMAGES[rows], "labels": LABELS[rows]}


def batches(epoch: int, rows: int = 1437, size: int = 48) -> Iterator[dict[str, Any]]:
    """Yield the training rows in another order each epoch; the last batch is smaller."""
    order = np.random.default_rng(epoch).permutation(rows)
    for start in range(0, rows, size):
        yield batch(order[start : start + size])


HELD_OUT = [batch(np.arange(start, min(start + 100, 1797))) for start in range(1437, 1797, 100)]
SMALL = [batch(np.arange(start, start + 8)) for start in range(0, 48, 8)]  # 6 batches of 8 rows


def new(kind: type[nn.Module] = MLP, **settings: Any) -> Any:
    mx.random.seed(3)
    return kind(**settings)


def weights(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: np.array(array) for name, array in tree_flatten(model.parameters())}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Any]:
    """Return a function that makes a trainer of an MLP, in a folder of its own."""

    def trainer(model: Any = None, loss: Any = nn.losses.cross_entropy, **settings: Any) -> Any:
        settings = {"output_dir": str(tmp_path / "run"), "progress": False, "learning_rate": 1e-2, **settings}
        return create_trainer(new() if model is None else model, loss=loss, **settings)

    return trainer


class Heard:
    """Notes losses and messages."""

    affects_result = False

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.said: list[str] = []

    @hookimpl
    def on_step_end(self, step: Any) -> None:
        self.losses.append(step.loss)

    @hookimpl
    def on_message(self, text: str) -> None:
        self.said.append(text)


def test_digits_are_learnt_and_used(make: Callable[..., Any]) -> None:
    trainer = make(max_steps=300, early_stopping=True, data__task="multiclass")
    result = trainer.train(batches, HELD_OUT)
    assert (result.status, result.steps) == ("ok", 300)
    assert result.metrics["eval_accuracy"] > 0.93
    assert [round(record["epoch"], 9) for record in result.history] == list(range(1, 11))
    found = trainer.evaluate(HELD_OUT)
    assert found | {"train_loss": result.metrics["train_loss"]} == result.metrics
    probabilities = trainer.predict([{"images": each["images"]} for each in HELD_OUT])
    assert probabilities.shape == (360, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert (probabilities.argmax(axis=1) == LABELS[1437:]).mean() == pytest.approx(found["eval_accuracy"])
    # What a loop of one's own would say of the same weights.
    logits = trainer.model(mx.array(IMAGES[1437:]))
    by_hand = nn.losses.cross_entropy(logits, mx.array(LABELS[1437:]), reduction="mean").item()
    assert found["eval_loss"] == pytest.approx(by_hand, abs=1e-6)
    np.testing.assert_allclose(trainer.predict(HELD_OUT, return_logits=True), np.array(logits), atol=1e-5)


def test_the_losses_are_those_of_a_loop_by_hand(make: Callable[..., Any]) -> None:
    """The same order and optimizer in plain MLX: losses to 1e-6, weights to 1e-6."""
    heard, model = Heard(), new()
    settings = {"type": "sgd", "momentum": 0.0, "weight_decay": 0.0}
    make(
        model,
        optimizer=settings,
        learning_rate=0.5,
        scheduler="constant",
        gradient_clipping=False,
        max_steps=60,
        plugins=[heard],
    ).train(batches)
    mine, losses = new(), []
    optimizer = optim.SGD(learning_rate=0.5)
    step = nn.value_and_grad(
        mine, lambda images, labels: nn.losses.cross_entropy(mine(images), labels, reduction="mean")
    )
    for epoch in range(2):
        for each in batches(epoch):
            loss, gradients = step(mx.array(each["images"]), mx.array(each["labels"]))
            optimizer.update(mine, gradients)
            losses.append(loss.item())
    np.testing.assert_allclose(heard.losses, losses, atol=1e-6)
    for name, array in weights(mine).items():
        np.testing.assert_allclose(weights(model)[name], array, atol=1e-6, err_msg=name)


def test_a_module_may_compute_its_own_loss(make: Callable[..., Any]) -> None:
    own, beside = Heard(), Heard()
    make(new(OwnLoss), None, num_epochs=2, plugins=[own]).train(SMALL)
    trainer = make(num_epochs=2, plugins=[beside])
    trainer.train(SMALL)
    assert own.losses == beside.losses
    assert len(own.losses) == 12


def test_a_mean_counts_by_the_rows_of_its_batch(make: Callable[..., Any]) -> None:
    """Uneven batches, accumulated: one number a batch gives what a loss of each row gives."""
    uneven = [batch(np.arange(0, 5)), batch(np.arange(5, 8)), batch(np.arange(8, 24)), batch(np.arange(24, 25))]
    heard: list[Heard] = []
    for reduction in ("none", "mean"):
        heard.append(Heard())
        loss = lambda logits, labels, how=reduction: nn.losses.cross_entropy(logits, labels, reduction=how)  # noqa: E731
        trainer = make(None, loss, gradient_accumulation_steps=3, num_epochs=3, plugins=[heard[-1]])
        result = trainer.train(uneven, uneven)
        assert result.steps == 6
        heard[-1].losses.append(result.metrics["eval_loss"])
    np.testing.assert_allclose(*(each.losses for each in heard), atol=1e-6)


def test_weights_of_rows_count(make: Callable[..., Any]) -> None:
    """A row that weighs 0 might as well be missing, in training and in the score."""
    first, second = Heard(), Heard()
    whole = [{**each, "weights": [1, 1, 1, 1, 1, 0, 0, 0]} for each in SMALL]
    part = [{name: values[:5] for name, values in each.items()} for each in SMALL]
    results = [
        make(num_epochs=2, plugins=[heard]).train(given, given) for heard, given in ((first, whole), (second, part))
    ]
    np.testing.assert_allclose(first.losses, second.losses, atol=1e-6)
    assert results[0].metrics["eval_loss"] == pytest.approx(results[1].metrics["eval_loss"], abs=1e-6)


@pytest.mark.parametrize("arrays", [list, mx.array, lambda values: np.asarray(values, np.float64)])
def test_arrays_of_any_make_are_the_same(arrays: Callable[[Any], Any], make: Callable[..., Any]) -> None:
    plain, other = Heard(), Heard()
    make(num_epochs=1, plugins=[plain]).train(SMALL)
    given = [{"images": arrays(each["images"].tolist()), "labels": each["labels"].tolist()} for each in SMALL]
    make(num_epochs=1, plugins=[other]).train(given)
    assert plain.losses == other.losses


def in_numpy(array: np.ndarray) -> tuple[Any, Any]:
    held = np.empty_like(array)
    return held, held


def in_mlx(array: np.ndarray) -> tuple[Any, Any]:
    held = mx.zeros(array.shape).astype(mx.array(array).dtype)
    return held, held


def seen_as_mlx(array: np.ndarray) -> tuple[Any, Any]:
    """An array of MLX, and NumPy's view of its memory that is filled."""
    held, _ = in_mlx(array)
    mx.eval(held)
    return np.array(held, copy=False), held


@pytest.mark.parametrize("memory", [in_numpy, in_mlx, seen_as_mlx])
@pytest.mark.parametrize("settings", [{}, {"training": {"gradient_accumulation_steps": 3}}])
def test_a_loader_may_fill_the_same_memory_for_each_batch(
    memory: Callable[[Any], Any], settings: dict[str, Any], make: Callable[..., Any]
) -> None:
    def reused(epoch: int) -> Iterator[dict[str, Any]]:
        held = {name: memory(array) for name, array in SMALL[0].items()}
        for each in SMALL:
            for name, array in each.items():
                held[name][0][:] = mx.array(array) if memory is in_mlx else array
            yield {name: given for name, (_, given) in held.items()}
            for filled, _ in held.values():
                filled[:] = 0

    heard, found = [Heard(), Heard()], []
    for plugin, given in zip(heard, (lambda epoch: iter(SMALL), reused), strict=True):
        trainer = make(max_steps=8, plugins=[plugin], **settings)
        metrics = trainer.train(given, given).metrics
        found.append((metrics["eval_loss"], trainer.evaluate(given), trainer.predict(given).tolist()))
    assert heard[0].losses == heard[1].losses
    assert found[0] == found[1]


def test_two_runs_give_the_same_bits_with_dropout(make: Callable[..., Any]) -> None:
    models = [new(dropout=0.3), new(dropout=0.3)]
    for model in models:
        make(model, max_steps=40).train(batches)
    assert same(weights(models[0]), weights(models[1]))


def test_stages_go_on_from_the_present_weights(make: Callable[..., Any]) -> None:
    trainer = make(num_epochs=2)
    first = trainer.train(SMALL, SMALL)
    second = trainer.train(SMALL, SMALL)
    assert second.directory != first.directory
    assert second.metrics["eval_loss"] < first.metrics["eval_loss"]
    assert len(second.history) == 2


def test_the_folder_says_how_it_is_used(make: Callable[..., Any], tmp_path: Path) -> None:
    trainer = make(num_epochs=2)
    result = trainer.train(SMALL, HELD_OUT)
    with pytest.raises(ModelError, match=r"made in Python \(.*MLP\).*model\.load_weights\(\"(.*)\"\)") as caught:
        open_trainer(result.directory)
    assert str(result.model_path / "model.safetensors") in str(caught.value)
    fresh = MLP()
    fresh.load_weights(str(result.model_path / "model.safetensors"))
    again = make(fresh)
    assert again.evaluate(HELD_OUT) == trainer.evaluate(HELD_OUT)
    np.testing.assert_array_equal(again.predict(HELD_OUT), trainer.predict(HELD_OUT))
    assert json.loads((result.model_path / "stepbus.json").read_text())["encoder"]["module"].endswith("MLP")


def test_checkpoints_by_hand(make: Callable[..., Any], tmp_path: Path) -> None:
    trainer = make(num_epochs=2)
    trainer.train(SMALL)
    trainer.save_checkpoint(tmp_path / "mine")
    before = weights(trainer.model)
    fresh = make(MLP())
    fresh.load_checkpoint(tmp_path / "mine")
    assert same(weights(fresh.model), before)
    other = nn.Linear(64, 10)
    with pytest.raises(ModelError, match=r"expected \w+, which the model has, got none"):
        make(other).load_checkpoint(tmp_path / "mine")


def test_a_finished_run_is_not_done_again(make: Callable[..., Any], tmp_path: Path) -> None:
    trainer = make(num_epochs=2)
    result = trainer.train(SMALL, SMALL)
    fresh = make(MLP(), num_epochs=2)
    again = fresh.train(SMALL, SMALL, resume=True)
    assert again.metrics == result.metrics
    assert same(weights(fresh.model), weights(trainer.model))
    assert fresh.evaluate(SMALL) == trainer.evaluate(SMALL)
    more = make(MLP(), num_epochs=3).train(SMALL, SMALL, resume=True, allow_changed=True)
    assert more.steps == 18


def test_every_plugin_works(make: Callable[..., Any], tmp_path: Path) -> None:
    settings = {"early_stopping": {"patience": 1}, "checkpoint": {"save_steps": 4}, "nan_guard": {}, "history": {}}
    trainer = make(num_epochs=30, learning_rate=0.5, data__task="multiclass", progress=True, **settings)
    result = trainer.train(SMALL, HELD_OUT)
    assert result.status == "stopped"
    assert result.reason.startswith("early_stopping")
    assert result.metrics["eval_loss"] == result.best.value
    assert {"history.jsonl", "history.csv", "checkpoints", "model"} <= {
        path.name for path in (result.directory / "fits" / "fit").iterdir()
    }


def test_a_loss_that_is_no_number_stops(make: Callable[..., Any]) -> None:
    broken = [*SMALL[:3], {**SMALL[3], "images": SMALL[3]["images"] * np.nan}, *SMALL[4:]]
    with pytest.raises(Exception, match="nan"):
        make(num_epochs=1, nan_guard={"patience": 1}).train(broken)


def test_predictions_have_no_names_to_write(make: Callable[..., Any], tmp_path: Path) -> None:
    trainer = make(num_epochs=1)
    trainer.train(SMALL)
    with pytest.raises(BadInput, match=r"trainer\.predict\(loader\) gives them as an array"):
        write_predictions(trainer, SMALL, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()
    assert trainer.codec is None


def test_a_loader_without_a_length_says_its_epochs_once_they_are_known(make: Callable[..., Any]) -> None:
    """Known from the end of the first epoch on, the evaluation there included."""
    result = make(max_steps=15).train(lambda: iter(SMALL), SMALL)
    assert [(record["step"], record["epoch"]) for record in result.history] == [(6, 1.0), (12, 2.0)]


def test_a_classifier_takes_batches_of_tokens(tiny_config: Callable[..., dict[str, Any]]) -> None:
    tree = tiny_config()
    section = {name: value for name, value in tree.pop("model").items() if name != "type"}
    model = create_model("bert", head_type="binary", **section)
    draw = np.random.default_rng(0)
    tokens = [
        {
            "input_ids": draw.integers(5, 20, (4, 8)),
            "attention_mask": np.ones((4, 8), np.float32),
            "labels": draw.integers(0, 2, 4),
        }
        for _ in range(5)
    ]
    trainer = create_trainer(model, {"environment": tree["environment"], "plugins": tree["plugins"]}, num_epochs=2)
    result = trainer.train(tokens, tokens)
    assert {"eval_loss", "eval_accuracy", "eval_auc_roc"} <= result.metrics.keys()
    assert trainer.predict(tokens).shape == (20, 2)
    assert result.predictions["validation"].labels.tolist() == [label for each in tokens for label in each["labels"]]
    wrong = [{**tokens[0], "input_ids": tokens[0]["input_ids"] + 1000}]
    with pytest.raises(BadInput, match=r"epoch 1, batch 1: input_ids: expected numbers from 0 to \d+ \(vocab_size\)"):
        trainer.train(wrong)
    with pytest.raises(
        BadInput, match="expected a loader, an iterable of batches, as the model was trained on, got a str"
    ):
        trainer.evaluate("file.csv")


def test_a_failing_call_leaves_the_weights(make: Callable[..., Any]) -> None:
    class Breaks(MLP):
        def __call__(self, images: mx.array) -> mx.array:
            return super().__call__(images) @ mx.zeros((3, 3))

    model = new(Breaks)
    before = weights(model)
    with pytest.raises(ModelError, match=r"Breaks called with images \[8, 64\] raised ValueError"):
        make(model).train(SMALL)
    assert same(weights(model), before)
    with pytest.raises(ModelError, match="raised ValueError"):
        make(model).evaluate(SMALL)
    assert same(weights(model), before)


def test_another_loader_is_refused_at_a_resume(make: Callable[..., Any]) -> None:
    class Interrupts:
        affects_result = False

        @hookimpl
        def on_step_end(self, state: Any) -> None:
            if state.step == 5:
                signal.raise_signal(signal.SIGTERM)

    def cut(given: Any) -> None:
        with pytest.raises(Exception, match="resume"):
            make(num_epochs=2, max_steps=12, plugins=[Interrupts()]).train(given)

    cut(lambda: iter(SMALL))
    other = [*SMALL[:2], SMALL[4], *SMALL[3:]]
    with pytest.raises(
        CheckpointError, match=r"train: epoch 1, batch 3( to 4)? of 5: expected the batches that the run"
    ):
        make(num_epochs=2, max_steps=12).train(lambda: iter(other), resume=True)
    with pytest.raises(CheckpointError, match="expected the 5 batches that the run was trained on, got 2"):
        make(num_epochs=2, max_steps=12).train(lambda: iter(SMALL[:2]), resume=True)
    with pytest.raises(BadInput, match="an iterator"):
        make(num_epochs=2, max_steps=12).train(iter(SMALL), resume=True)
    assert make(num_epochs=2, max_steps=12).train(lambda: iter(SMALL), resume=True).steps == 12


def through_a_helper(outputs: mx.array, labels: mx.array) -> mx.array:
    return nn.losses.cross_entropy(outputs, labels)


LOSSES = {
    "MLX's": nn.losses.cross_entropy,
    "with settings": partial(nn.losses.cross_entropy, label_smoothing=0.1, axis=-1),
    "own": lambda outputs, labels: nn.losses.cross_entropy(outputs, labels).mean(),
    "helper": lambda outputs, labels: through_a_helper(outputs, labels),
    "the module's": None,
}


@pytest.mark.parametrize("name", LOSSES)
def test_labels_beyond_the_outputs_are_refused_without_a_task(name: str, make: Callable[..., Any]) -> None:
    def trainer() -> Any:
        return make(new(OwnLoss) if LOSSES[name] is None else None, loss=LOSSES[name], num_epochs=1)

    beyond = [SMALL[0], {**SMALL[1], "labels": SMALL[1]["labels"] + 10}]
    said = r"batch \d: labels: expected class numbers below 10, for the model has so many outputs, got 1\d"
    for call in (lambda t: t.train(beyond), lambda t: t.train(SMALL, beyond), lambda t: t.evaluate(beyond)):
        with pytest.raises(BadInput, match=said):
            call(trainer())
    assert trainer().train(SMALL, SMALL).status == "ok"


@pytest.mark.parametrize("settings", [{}, {"data__task": "binary"}, {"data__task": "multiclass"}])
def test_one_output_is_no_two_classes_to_look_up(settings: dict[str, Any], make: Callable[..., Any]) -> None:
    def picked(outputs: mx.array, labels: mx.array) -> mx.array:
        return -outputs[mx.arange(len(labels)), labels]

    two = [{**each, "labels": each["labels"] % 2} for each in SMALL]
    said = r"train: epoch 1, batch 1: labels: expected class numbers below 1, .* got 1; give it 2 outputs, or take"
    for loss in (nn.losses.cross_entropy, picked):
        with pytest.raises(BadInput, match=said):
            make(nn.Linear(64, 1), loss, num_epochs=1, **settings).train(two, two)
    if settings.get("data__task") == "binary":

        def both(outputs: mx.array, labels: mx.array) -> mx.array:
            return nn.losses.binary_cross_entropy(outputs.reshape(-1), labels)

        assert make(nn.Linear(64, 1), both, num_epochs=1, **settings).train(two, two).status == "ok"


def test_one_output_and_bare_labels_are_not_crossed(make: Callable[..., Any]) -> None:
    def distance(outputs: mx.array, labels: mx.array) -> mx.array:
        return mx.abs(outputs - labels).mean()

    values = [{**each, "labels": each["labels"] / 10} for each in SMALL]
    for settings in ({}, {"data__task": "regression"}):
        with pytest.raises(
            BadInput, match=r"^train: labels: expected the shape of the outputs, \[8, 1\], .* got \[8\]"
        ):
            make(nn.Linear(64, 1), distance, num_epochs=1, **settings).train(values)
        columns = [{**each, "labels": each["labels"][:, None]} for each in values]
        assert make(nn.Linear(64, 1), distance, num_epochs=1, **settings).train(columns, columns).status == "ok"


def test_labels_below_0_are_refused_where_mlx_looks_them_up(make: Callable[..., Any]) -> None:
    with pytest.raises(BadInput, match=r"batch 1: labels: expected class numbers from 0, .*, got -100; leave such"):
        make(num_epochs=1).train([{**SMALL[0], "labels": np.where(SMALL[0]["labels"] > 4, -100, 0)}])


def test_labels_that_nobody_looks_up_are_any_numbers(make: Callable[..., Any]) -> None:
    def distance(outputs: mx.array, labels: mx.array) -> mx.array:
        return mx.abs(outputs[:, 0] - labels)

    far = [{**each, "labels": each["labels"] * 100 - 300} for each in SMALL]
    assert make(loss=distance, num_epochs=1).train(far, far).status == "ok"
    shares = [{**each, "labels": np.eye(10, dtype=np.float32)[each["labels"]]} for each in SMALL]
    assert make(num_epochs=1).train(shares, shares).status == "ok"


class Probabilities(MLP):
    """Takes the softmax itself, as scikit-learn's models do."""

    def __call__(self, images: mx.array) -> mx.array:
        return mx.softmax(super().__call__(images), axis=-1)


def test_probabilities_that_are_taken_for_logits_are_said(
    make: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The softmax of probabilities of ten classes lies between 0.08 and 0.24, and nothing was said."""
    for task, model, loss, times in (
        ("multiclass", Probabilities, nn.losses.cross_entropy, 1),
        (None, Probabilities, nn.losses.cross_entropy, 0),  # what the module gives is what is predicted
        ("multiclass", MLP, nn.losses.cross_entropy, 0),
    ):
        heard, given = Heard(), {} if task is None else {"data__task": task}
        trainer = make(new(model), loss, max_steps=12, callbacks=[heard], **given)
        trainer.train(SMALL, HELD_OUT)
        assert sum("are probabilities already" in text for text in heard.said) == times
        caplog.clear()
        predicted = trainer.predict(HELD_OUT)
        assert ("are probabilities already" in caplog.text) == bool(times)
        assert (predicted.max() < 0.25) == bool(times)
