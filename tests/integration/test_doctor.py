"""An update that is not one of finite numbers: nan_guard says where that began, in which layer and in which rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map, tree_unflatten

from stepbus import BaseTrainer, Diagnosis, StepbusError, create_trainer, hookimpl

Config = Callable[..., dict[str, Any]]
NAN, INF = float("nan"), float("inf")


class Weight:
    """Put a number into a weight after an update."""

    def __init__(self, path: str, after: int, value: float = NAN) -> None:
        self.path, self.after, self.value = path, after, value

    @hookimpl
    def on_step_end(self, trainer: Any, state: Any) -> None:
        if state.step == self.after:
            named: Any = tree_flatten(trainer.model.parameters())
            array = np.array(dict(named)[self.path])
            array.reshape(-1)[3] = self.value
            trainer.model.update(tree_unflatten([(self.path, mx.array(array))]))


class Loss:
    """A loss of NaN in the second row of an update."""

    def __init__(self, at: int) -> None:
        self.at = at

    @hookimpl
    def wrap_loss(self, trainer: Any, loss: Any) -> Any:
        state, at = trainer.optimizer.state, self.at

        def odd(forward: Any, batch: Any) -> Any:
            rows, named = loss(forward, batch)
            here = (state["step"] == at - 1) & (mx.arange(len(rows)) == 1)
            return mx.where(here, mx.array(NAN), rows), named

        return odd


class Gradient:
    """An infinite gradient of one parameter in an update."""

    def __init__(self, path: str, at: int) -> None:
        self.path, self.at = path, at

    @hookimpl
    def wrap_gradient(self, trainer: Any, value_and_grad: Any) -> Any:
        state, at, path = trainer.optimizer.state, self.at, self.path

        def odd(parameters: Any, batch: Any) -> Any:
            total, weight, named, gradients = value_and_grad(parameters, batch)
            bad = mx.where(state["step"] == at - 1, mx.array(INF), gradients[path])
            return total, weight, named, {**gradients, path: bad}

        return odd


class Windows:
    """Note which rows each update of the first epoch is made of."""

    def __init__(self) -> None:
        self.rows: list[list[Any]] = []

    @hookimpl
    def on_fit_start(self, trainer: Any) -> None:
        ids = trainer.prepared.sets["train"].ids
        with trainer.data.windows(0, 0) as windows:
            self.rows = [[ids[row] for batch in window for row in batch.rows if row >= 0] for window in windows]


DENSE = "encoder.encoder.layer.1.output.dense.weight"


def said(tree: dict[str, Any], *plugins: Any) -> tuple[str, list[Any]]:
    """Return the words of the error that ends a run, and the rows of the update that it names."""
    windows = Windows()
    with pytest.raises(StepbusError) as caught:
        create_trainer(config=tree, plugins=[windows, *plugins]).train()
    step = int(re.findall(r"step (\d+)", str(caught.value))[0])
    return str(caught.value), windows.rows[step - 1] if step <= len(windows.rows) else []


def in_order(rows: list[Any]) -> str:
    return f"rows {', '.join(map(str, rows[:-1]))} and {rows[-1]} of train"


@pytest.mark.parametrize(
    ("path", "layer"),
    [
        (DENSE, "layer 2 of 2"),
        ("encoder.embeddings.word_embeddings.weight", "embeddings"),
        ("head.weight", "above the layers"),
    ],
)
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_weight(precision: str, path: str, layer: str, tiny_config: Config) -> None:
    words, rows = said(tiny_config(training={"precision": precision}), Weight(path, 4))
    assert words.startswith("the loss is nan at step 5; the first numbers that are not finite are in the weight ")
    assert f"in the weight {path} ({layer}) before the step: 1 NaN of " in words
    assert f"; the batch: {in_order(rows)}; the last finite loss was 0." in words
    assert "environment.debug: true stops at that one" in words
    assert len(rows) == 4


@pytest.mark.parametrize("technique", ["plain", "accumulated", "rdrop", "lora", "freeze", "gradient_checkpointing"])
def test_a_loss_names_its_row_and_who_gave_it(technique: str, tiny_config: Config) -> None:
    settings = {"lora": {"rank": 2}, "freeze": {"layers": 1}}
    on = {technique: settings.get(technique, {})} if technique not in ("plain", "accumulated") else {}
    window = 3 if technique == "accumulated" else 1
    tree = tiny_config(plugins={"progress": False, **on}, training={"gradient_accumulation_steps": window})
    words, rows = said(tree, Loss(3))
    assert "in the losses of the rows, as Loss (passed in Python): wrap_loss gives it: 1 NaN of 4 numbers" in words
    odd = f"rows {rows[1]}, {rows[5]} and {rows[9]}" if window == 3 else f"row {rows[1]}"  # the second of each batch
    assert f"; not finite: {odd}; the batch: " in words
    assert words.startswith("the loss is nan at step 3; ")
    assert len(rows) == 4 * window


def test_a_gradient_names_its_parameter(tiny_config: Config) -> None:
    words, rows = said(tiny_config(), Gradient(DENSE, 5))
    assert words.startswith("the gradient norm is inf at step 5; ")
    assert f"in the gradient of {DENSE} (layer 2 of 2), as Gradient (passed in Python): wrap_gradient gives it" in words
    assert "while the loss is finite: 1,024 infinite of 1,024 numbers" in words
    assert f"; the batch: {in_order(rows)};" in words


class Changed:
    """NaN of every gradient."""

    @hookimpl
    def transform_gradients(self, trainer: Any) -> Any:
        return lambda gradients: tree_map(lambda array: array * NAN, gradients)


class Word:
    """Make the vector of one word too great for a norm, after an update."""

    def __init__(self, number: int) -> None:
        self.number = number

    @hookimpl
    def on_step_end(self, trainer: Any, state: Any) -> None:
        if state.step == 2:
            path = "encoder.embeddings.word_embeddings.weight"
            named: Any = tree_flatten(trainer.model.parameters())
            table = np.array(dict(named)[path])
            table[self.number] = 3e38
            trainer.model.update(tree_unflatten([(path, mx.array(table))]))


@pytest.mark.parametrize("technique", ["plain", "rdrop", "debug", "accumulated"])
@pytest.mark.parametrize("size", [8, 7, 2])
def test_rows_that_streams_share_are_counted_together(
    size: int, technique: str, tiny_config: Config, review_files: dict[str, Path]
) -> None:
    plugins = {"progress": False, **({"rdrop": {}} if technique == "rdrop" else {})}
    tree = tiny_config(data={"batch_size": size}, plugins=plugins)
    tree["environment"]["debug"] = technique == "debug"
    tree["training"]["gradient_accumulation_steps"] = 2 if technique == "accumulated" else 1
    words, rows = said(tree, Word(5 + 4))  # the first of BAD, behind SPECIAL and GOOD
    texts = [line.rpartition(",")[0].split() for line in review_files["train"].read_text().splitlines()[1:]]
    hit = [row for row in rows if "bad" in texts[row]]
    first = next(number for number, row in enumerate(rows) if row in hit) // size * size  # its batch of the window
    number = sum(texts[row].count("bad") for row in rows[first : first + size])
    where = "in what encoder.embeddings gives in the forward pass (Embeddings, embeddings): "
    found = re.search(re.escape(where) + r"([\d,]+) NaN of ([\d,]+) numbers, float32 \[(\d+), (\d+), 16\]", words)
    assert found is not None, words
    nan, of, lead, length = (int(each.replace(",", "")) for each in found.groups())
    assert (nan, of, lead) == (16 * number, lead * length * 16, len(rows[first : first + size]))
    named = str(hit[0]) if len(hit) == 1 else f"{', '.join(map(str, hit[:-1]))} and {hit[-1]}"
    if len(hit) < len(rows) and len(hit) <= 6:
        assert f"; not finite: row{'s' if hit[1:] else ''} {named}; the batch: rows " in words


def test_where_no_row_is_finite_they_are_named_once(tiny_config: Config) -> None:
    class Every:
        @hookimpl
        def wrap_loss(self, trainer: Any, loss: Any) -> Any:
            def odd(forward: Any, batch: Any) -> Any:
                rows, named = loss(forward, batch)
                return rows * NAN, named

            return odd

    words, rows = said(tiny_config(), Every())
    assert f"; not finite: all of the batch: {in_order(rows)}; it was never finite" in words
    assert words.count(in_order(rows).removeprefix("rows ")) == 1


def test_gradients_that_a_plugin_changed_name_it_at_the_first_update(tiny_config: Config) -> None:
    words, _ = said(tiny_config(), Changed())
    assert " at step 1; the first numbers that are not finite are in the gradient of " in words
    assert ", as Changed (passed in Python): transform_gradients gives it, while it was finite before" in words


def test_what_only_fails_at_the_moved_weights_is_said_to_do_so(tiny_config: Config) -> None:
    tree = tiny_config(plugins={"progress": False, "adversarial_training": {"epsilon": 1e38}})
    words, _ = said(tree)
    assert "when the batch is computed for the second time, as adversarial_training" in words
    assert "while the loss is finite" in words or "gives in the forward pass" in words


def test_an_activation_beyond_float16_names_the_layer_and_what_to_set(tiny_config: Config) -> None:
    big = Weight("encoder.encoder.layer.1.attention.self.value.weight", 2, 1e5)
    words, _ = said(tiny_config(training={"precision": "float16"}, model={"pooling": "mean"}), big)
    assert "layer 2 of 2" in words
    assert "float16 ends at 65504: set training.precision to bfloat16 or float32" in words


class Net(nn.Module):
    """Two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 8), nn.Linear(8, 2)

    def __call__(self, x: mx.array) -> mx.array:
        return self.b(mx.tanh(self.a(x)))


def batches(bad: int | None = None, *, ids: bool = False) -> list[dict[str, Any]]:
    draw, found = np.random.default_rng(0), []
    for number in range(5):
        x = draw.normal(size=(4, 3)).astype(np.float32)
        if number == bad:
            x[2, 1] = NAN
        batch = {"x": x, "labels": draw.integers(0, 2, 4)}
        found.append({**batch, "ids": [f"r{number}{row}" for row in range(4)]} if ids else batch)
    return found


def trained(
    folder: Path,
    model: nn.Module,
    data: Any,
    *plugins: Any,
    loss: Any = nn.losses.cross_entropy,
    trainer_class: Any = None,
    environment: dict[str, Any] | None = None,
    nan_guard: Any = None,
    **training: Any,
) -> Any:
    guard = {} if nan_guard is None else {"nan_guard": nan_guard}
    config = {
        "environment": {"output_dir": str(folder / "run"), **(environment or {})},
        "plugins": {"progress": False, **guard},
        "training": {"num_epochs": 2, **training},
    }
    more = {} if trainer_class is None else {"trainer_class": trainer_class}
    return create_trainer(model, loss=loss, config=config, plugins=list(plugins), **more).train(data)


@pytest.mark.parametrize(
    ("training", "ids", "step", "row"),
    [
        ({}, False, 4, "row 14"),
        ({}, True, 4, "row r32"),
        ({"gradient_accumulation_steps": 2}, True, 2, "row r32"),
        ({"pipeline_depth": 2}, True, 4, "row r32"),
        ({"precision": "float16"}, True, 4, "row r32"),
    ],
)
def test_an_input_of_a_loader(training: Any, ids: bool, step: int, row: str, tmp_path: Path) -> None:
    with pytest.raises(StepbusError) as caught:
        trained(tmp_path, Net(), batches(3, ids=ids), **training)
    words = str(caught.value)
    assert f"the loss is nan at step {step}; the first numbers that are not finite are in the array 'x' of the" in words
    assert (
        "batch: 1 NaN of 12 numbers, float32 [4, 3], and then what a gives in the forward pass (Linear) has " in words
    )
    assert f"; not finite: {row}; the batch: rows " in words
    assert words.endswith("mend or leave out these rows")


def test_weights_that_came_so_are_said_to(tmp_path: Path) -> None:
    model = Net()
    weight = np.array(model.a.weight)
    weight[0, 0] = NAN
    model.a.weight = mx.array(weight)
    with pytest.raises(StepbusError, match=r"the weight a\.weight before the step: 1 NaN .*; the weights came so"):
        trained(tmp_path, model, batches())


def test_a_step_of_ones_own_is_looked_into_as_well(tmp_path: Path) -> None:
    class Own(BaseTrainer):
        def training_step(self, batch: Any, state: Any) -> Any:
            def loss() -> Any:
                return mx.sqrt(self.model(batch["x"]).mean() * 0.0)

            value, gradients = nn.value_and_grad(self.model, loss)()
            self.optimizer.update(self.model, gradients)
            return value

    with pytest.raises(StepbusError, match=r"the gradient of a\.weight, as Own .*: training_step gives it, while the"):
        trained(tmp_path, Net(), batches(), trainer_class=Own)


class Explained:
    """Ask after each update, and keep what is said."""

    def __init__(self) -> None:
        self.said: list[Diagnosis | None] = []
        self.weights: list[Any] = []

    @hookimpl
    def on_step_end(self, trainer: Any) -> None:
        before = dict(tree_flatten(trainer.model.parameters())), trainer.optimizer.arrays()
        self.said.append(trainer.explain_step())
        after = dict(tree_flatten(trainer.model.parameters())), trainer.optimizer.arrays()
        same = [all(was[name] is now[name] for name in was) for was, now in zip(before, after, strict=True)]
        self.weights.append(same == [True, True])


class KeptLosses:
    """Keep the loss of each update."""

    def __init__(self) -> None:
        self.found: list[float] = []

    @hookimpl
    def on_step_end(self, step: Any) -> None:
        self.found.append(step.loss)


def test_plugins_may_ask_and_training_goes_on_as_it_would_have(tmp_path: Path) -> None:
    asked, silent = Explained(), None
    losses = []
    for folder, plugins in ((tmp_path / "a", [asked]), (tmp_path / "b", [])):
        keep = KeptLosses()
        model = Net()
        model.update(tree_map(lambda array: mx.ones_like(array) * 0.1, model.parameters()))
        silent = trained(folder, model, batches(1, ids=True), *plugins, keep, nan_guard=False)
        losses.append(keep.found)
    np.testing.assert_array_equal(losses[0], losses[1])
    assert silent is not None
    assert all(asked.weights)
    assert [each is None for each in asked.said] == [number not in (2, 7) for number in range(1, 11)]
    found = asked.said[1]
    assert found is not None
    assert (found.step, found.kind, found.name, found.set) == (2, "batch", "x", "train")
    assert (found.rows, found.batch) == (("r12",), ("r10", "r11", "r12", "r13"))


def test_with_steps_in_flight_the_weights_may_be_later_ones_and_that_is_said(tmp_path: Path) -> None:
    class Third:
        """A row loss of NaN in the third update, by its rate."""

        @hookimpl
        def wrap_loss(self, trainer: Any, loss: Any) -> Any:
            return Loss(3).wrap_loss(trainer, loss)

    with pytest.raises(StepbusError) as caught:
        trained(tmp_path, Net(), batches(), Third(), pipeline_depth=1)
    # The counter of updates stood still in the skipped one, so that the next one has the same fault.
    assert "(computed again with the weights of 1 update later)" in str(caught.value)


def test_what_the_last_update_did_to_the_weights_is_seen_before_they_are_kept(tiny_config: Config) -> None:
    class Last:
        @hookimpl
        def on_step_end(self, trainer: Any, state: Any) -> None:
            if state.step == 4:
                trainer.optimizer.learning_rate = 1e300  # which float32 does not hold

    tree = tiny_config(training={"max_steps": 5}, data={"validation": None})
    with pytest.raises(StepbusError, match=r"the weights are not finite after step 5; .* the new value of encoder\."):
        create_trainer(config=tree, plugins=[Last()]).train()
    assert not [*Path(tree["environment"]["output_dir"]).rglob("model.safetensors")]


def test_pretrained_weights_are_looked_at_when_they_are_read(tiny_config: Config, tmp_path: Path) -> None:
    result = create_trainer(config=tiny_config(training={"num_epochs": 1})).train()
    folder = Path(result.model_path)
    tensors = mx.load(str(folder / "model.safetensors"))
    name = "bert.encoder.layer.1.output.dense.weight"
    array = np.array(tensors[name])
    array[1, 2] = NAN
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in ("config.json", "tokenizer.json", "vocab.txt", "tokenizer_config.json"):
        if (folder / file).exists():
            (broken / file).write_bytes((folder / file).read_bytes())
    mx.save_safetensors(str(broken / "model.safetensors"), {**tensors, name: mx.array(array)})
    tree = tiny_config(environment={"output_dir": str(tmp_path / "other")})
    tree["model"] = {"pretrained": str(broken)}
    with pytest.raises(StepbusError, match=rf"tensor '{name}': expected finite numbers, got 1 NaN of 1,024"):
        create_trainer(config=tree).train()
