"""rdrop, multi_sample_dropout and adversarial_training in real fits: alone, on top of each other, and resumed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from stepbus import BadInput, create_model, create_trainer, hookimpl, import_module
from stepbus.compute.forward import HeadForward
from stepbus.storage.checkpoints import step_of
from stepbus_plugins.multi_sample_dropout import masked, sampled

weighted = import_module(str(Path(__file__).with_name("test_weighted_rows.py")))

Config = Callable[..., dict[str, Any]]
NO_DROPOUT = {"dropout": 0.0, "hidden_dropout": 0.0, "attention_dropout": 0.0}
PLUGINS: dict[str, dict[str, Any]] = {
    "rdrop": {"alpha": 2.0},
    "multi_sample_dropout": {"samples": 3},
    "adversarial_training": {"epsilon": 0.3},
}
SCALARS = {"rdrop_kl", "adversarial_loss"}


class Steps:
    """Keep every update and the weights after it; cut the run after one of them."""

    asks = ("checkpoint",)

    def __init__(self, cut: int = 0) -> None:
        self.cut = cut
        self.steps: list[Any] = []
        self.weights: list[dict[str, np.ndarray[Any, Any]]] = []
        self.said: list[str] = []

    @hookimpl
    def on_step_end(self, trainer: Any, state: Any, step: Any) -> None:
        self.steps.append(step)
        self.weights.append({name: np.array(array) for name, array in tree_flatten(trainer.model.parameters())})
        if state.step == self.cut:
            trainer.control.request_checkpoint("cut")

    @hookimpl
    def on_checkpoint(self, checkpoint: Path) -> None:
        if self.cut and step_of(checkpoint.name) == self.cut:
            raise KeyboardInterrupt

    @property
    def losses(self) -> list[float]:
        return [step.loss for step in self.steps]


class Messages:
    """Keep what a run says."""

    scope = "run"

    def __init__(self, level: str = "warning") -> None:
        self.level = level
        self.texts: list[str] = []

    @hookimpl
    def on_message(self, text: str, level: str) -> None:
        if level == self.level:
            self.texts.append(text)


def fitted(tree: dict[str, Any], *plugins: Any, cut: int = 0, **more: Any) -> Steps:
    steps = Steps(cut)
    create_trainer(config=tree, plugins=[*plugins, steps]).train(**more)
    return steps


def tree_of(tiny_config: Config, plugins: Any = (), model: Any = (), **sections: Any) -> dict[str, Any]:
    named = plugins if isinstance(plugins, dict) else {name: PLUGINS[name] for name in plugins}
    return tiny_config(plugins={"progress": False, **named}, model=dict(model), **sections)


# -- each by itself ---------------------------------------------------------------------------------------------------


def test_r_drop_without_dropout_is_the_plain_fit_and_says_so(tiny_config: Config) -> None:
    said = Messages()
    training = {"max_steps": 6}
    plain = fitted(tree_of(tiny_config, model=NO_DROPOUT, training=training))
    found = fitted(tree_of(tiny_config, ["rdrop"], NO_DROPOUT, training=training), said)
    np.testing.assert_allclose(found.losses, plain.losses, rtol=1e-5)
    assert [step.scalars["rdrop_kl"] for step in found.steps] == [0.0] * 6
    assert "rdrop: both passes of the first batch gave the same outputs, so it changes nothing" in said.texts[-1]


def test_r_drop_with_dropout_compares_two_passes(tiny_config: Config) -> None:
    said = Messages()
    found = fitted(tree_of(tiny_config, ["rdrop"]), said)
    assert all(step.scalars["rdrop_kl"] > 0 for step in found.steps)
    assert not any(text.startswith("rdrop") for text in said.texts)


def test_multi_sample_dropout_of_a_real_model_is_what_its_parts_give(tiny_config: Config) -> None:
    """The same seed, the same order of draws: one run of the encoder, then mask after mask of the pooled vectors."""
    section = {name: value for name, value in tiny_config()["model"].items() if name != "type"}
    model = create_model(**section, hidden_dropout=0.3, dropout=0.9)
    draw = np.random.default_rng(1)
    batch = {
        "input_ids": mx.array(draw.integers(5, 20, (4, 8)).astype(np.int32)),
        "attention_mask": mx.ones((4, 8)),
        "labels": mx.array([0, 1, 1, 0]),
        "weights": mx.ones(4),
    }
    forward = HeadForward()
    mx.random.seed(3)
    rows, named = sampled(forward.loss_of(model), 3, masked(0.4))(forward.calling(model), batch)
    mx.random.seed(3)
    pooled = model.pooled(batch)
    dropout = nn.Dropout(0.4)
    wanted = [model.head.loss(model.head(dropout(pooled)), batch["labels"]) for _ in range(3)]
    np.testing.assert_allclose(rows, np.mean([np.array(each) for each in wanted], axis=0), rtol=1e-6)
    assert named == {}


@pytest.mark.parametrize("own", [None, 0.0, 0.25])
def test_a_dropout_of_the_model_that_gives_way_is_said(own: float | None, tiny_config: Config) -> None:
    said = Messages("info")
    model = {} if own is None else {"dropout": own}
    fitted(tree_of(tiny_config, ["multi_sample_dropout"], model, training={"max_steps": 1}), said)
    words = "model.dropout: 0.25 has no effect in training, where multi_sample_dropout drops pooled features by 0.5"
    assert [text for text in said.texts if text.startswith("model.dropout")] == ([words] if own else [])


class Words(nn.Module):
    """The mean of two words' vectors [4, 3], times a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.out = nn.Embedding(4, 3), nn.Linear(3, 2, bias=False)

    def __call__(self, ids: mx.array) -> mx.array:
        return self.out(self.words(ids).mean(axis=1))


def squared_error(outputs: mx.array, labels: mx.array) -> mx.array:
    return mx.square(outputs - labels).sum(axis=-1)


IDS = [np.array([[0, 1], [2, 2]]), np.array([[1, 3], [0, 0]]), np.array([[3, 3], [1, 2]]), np.array([[0, 2], [2, 1]])]
ROW_WEIGHTS = [np.array([1.0, 2.0]), np.array([0.5, 1.0]), np.array([1.0, 1.0]), np.array([3.0, 0.0])]
BATCHES = [
    {"ids": ids.astype(np.int32), "labels": np.array([[1.0, -1.0], [0.5, 2.0]], np.float32), "weights": each}
    for ids, each in zip(IDS, ROW_WEIGHTS, strict=True)
]


def by_hand(table: Any, matrix: Any, batch: Any) -> tuple[float, Any, Any]:
    """Return the total of a batch, and its gradients, worked out on paper."""
    vectors = table[batch["ids"]].mean(axis=1)
    error = vectors @ matrix.T - batch["labels"]
    back = 2 * error * batch["weights"][:, None]
    of_table = np.zeros_like(table)
    for row, ids in enumerate(batch["ids"]):
        for word in ids:
            of_table[word] += back[row] @ matrix / 2
    return float((np.square(error).sum(-1) * batch["weights"]).sum()), of_table, back.T @ vectors


def moved_by_hand(mode: str, table: Any, matrix: Any, batch: Any) -> tuple[Any, Any]:
    _, of_table, of_matrix = by_hand(table, matrix, batch)
    if mode == "fgm":
        return table + 0.3 * of_table / np.linalg.norm(of_table), matrix
    return tuple(
        weight + 0.05 * np.linalg.norm(weight) * gradient / np.linalg.norm(gradient)
        for weight, gradient in ((table, of_table), (matrix, of_matrix))
    )  # type: ignore[return-value]


def words_fitted(model: Words, tmp_path: Path, window: int, settings: dict[str, Any]) -> Steps:
    """Train by plain SGD at 0.1 on the batches, once."""
    steps = Steps()
    tree = {
        "optimizer": {"type": "sgd", "learning_rate": 0.1, "momentum": 0.0, "weight_decay": 0.0},
        "scheduler": {"type": "constant"},
        "training": {"num_epochs": 1, "gradient_accumulation_steps": window},
        "environment": {"output_dir": str(tmp_path / "run")},
        "plugins": {"progress": False, "gradient_clipping": False, "adversarial_training": settings},
    }
    create_trainer(model, config=tree, loss=squared_error, plugins=[steps]).train(BATCHES)
    return steps


@pytest.mark.parametrize("mode", ["fgm", "awp"])
@pytest.mark.parametrize("window", [1, 2])
def test_updates_of_any_module_are_what_a_hand_computes(mode: str, window: int, tmp_path: Path) -> None:
    """Plain SGD over four weighted batches, one by one or two to an update; every batch has its own perturbation."""
    mx.random.seed(5)
    model = Words()
    table, matrix = (np.array(each, dtype=np.float64) for each in (model.words.weight, model.out.weight))
    own = {"epsilon": 0.3, "parameters": ["words.*"]} if mode == "fgm" else {"gamma": 0.05, "ascent_rate": 0.2}
    losses, worst = [], []
    for start in range(0, 4, window):
        batches = BATCHES[start : start + window]
        weight = sum(batch["weights"].sum() for batch in batches)
        sums, totals = [np.zeros_like(table), np.zeros_like(matrix)], [0.0, 0.0]
        for batch in batches:
            there = moved_by_hand(mode, table, matrix, batch)
            for place, at in enumerate(((table, matrix), there)):
                total, *gradients = by_hand(*at, batch)
                totals[place] += total
                sums = [each + (1.0, 0.5)[place] * one for each, one in zip(sums, gradients, strict=True)]
        table, matrix = (each - 0.1 * one / weight for each, one in zip((table, matrix), sums, strict=True))
        losses.append(totals[0] / weight)
        worst.append(totals[1] / weight)
    steps = words_fitted(model, tmp_path, window, {"mode": mode, "weight": 0.5, **own})
    np.testing.assert_allclose(steps.losses, losses, rtol=1e-5)
    np.testing.assert_allclose([step.scalars["adversarial_loss"] for step in steps.steps], worst, rtol=1e-5)
    np.testing.assert_allclose(steps.weights[-1]["words.weight"], table, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(steps.weights[-1]["out.weight"], matrix, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("window", [1, 2])
def test_frozen_embeddings_are_moved_and_keep_their_bits(window: int, tmp_path: Path) -> None:
    """FGM on a frozen table: the matrix learns at the table and at the moved one, by hand; the table stays."""
    mx.random.seed(6)
    model = Words()
    model.words.freeze()
    table, matrix = (np.array(each, dtype=np.float64) for each in (model.words.weight, model.out.weight))
    before, worst = np.array(model.words.weight), []
    for start in range(0, 4, window):
        batches = BATCHES[start : start + window]
        weight, gradient, total = sum(batch["weights"].sum() for batch in batches), np.zeros_like(matrix), 0.0
        for batch in batches:
            there = by_hand(*moved_by_hand("fgm", table, matrix, batch), batch)
            gradient += by_hand(table, matrix, batch)[2] + 0.5 * there[2]
            total += there[0]
        matrix = matrix - 0.1 * gradient / weight
        worst.append(total / weight)
    settings = {"mode": "fgm", "weight": 0.5, "epsilon": 0.3, "parameters": ["words.*"]}
    steps = words_fitted(model, tmp_path, window, settings)
    np.testing.assert_allclose([step.scalars["adversarial_loss"] for step in steps.steps], worst, rtol=1e-5)
    np.testing.assert_allclose(steps.weights[-1]["out.weight"], matrix, rtol=1e-5, atol=1e-6)
    assert all(np.array_equal(before, weights["words.weight"]) for weights in steps.weights)


FROZEN = {"freeze": {"embeddings": True, "layers": 2}}
AWP = {"mode": "awp", "gamma": 0.1, "ascent_rate": 0.1}


@pytest.mark.parametrize(
    "plugins",
    [
        {"adversarial_training": AWP},
        {**FROZEN, "adversarial_training": {}},
        {**FROZEN, "adversarial_training": {**AWP, "parameters": ["*layer.0*weight"]}},
    ],
    ids=["trained", "frozen_words", "frozen_layer"],
)
def test_layers_that_are_computed_again_move_as_others_do(
    plugins: dict[str, Any], tiny_config: Config, tmp_path: Path
) -> None:
    """A layer computed again left the gradients of what is frozen in it out, and nothing was moved."""
    found = []
    for name, more in (("kept", {}), ("again", {"gradient_checkpointing": {}})):
        places = {"environment": {"output_dir": str(tmp_path / name)}, "training": {"max_steps": 3}}
        found.append(fitted(tree_of(tiny_config, {**plugins, **more}, NO_DROPOUT, **places)))
    kept, again = found
    assert again.losses == pytest.approx(kept.losses, rel=1e-5)
    numbers = [[step.scalars["adversarial_loss"] for step in each.steps] for each in (kept, again)]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-5)
    assert all(abs(worst - loss) > 1e-3 for worst, loss in zip(numbers[0], kept.losses, strict=True))


# -- together ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", list(itertools.permutations(PLUGINS)), ids="-".join)
def test_all_of_them_in_any_order_and_accumulated(order: tuple[str, ...], tiny_config: Config) -> None:
    training = {"max_steps": 3, "gradient_accumulation_steps": 2}
    found = fitted(tree_of(tiny_config, order, training=training))
    for step in found.steps:
        assert step.scalars.keys() == {*SCALARS, "gradient_norm"}
        assert np.isfinite([step.loss, *step.scalars.values()]).all()
        assert step.scalars["rdrop_kl"] > 0
        assert step.scalars["adversarial_loss"] != step.loss


def test_each_part_of_the_loss_has_its_mean_over_the_epoch(tiny_config: Config) -> None:
    tree = tree_of(tiny_config, ["rdrop"], data={"batch_size": 8})
    steps = Steps()
    result = create_trainer(config=tree, plugins=[steps]).train()
    per_epoch = len(steps.steps) // 2
    weights = [step.weight for step in steps.steps]
    assert len(set(weights)) == 2  # the last batch is shorter
    for epoch, record in enumerate(result.history):
        rows = slice(epoch * per_epoch, (epoch + 1) * per_epoch)
        for name, values in {
            "train_loss": steps.losses,
            "train_rdrop_kl": [step.scalars["rdrop_kl"] for step in steps.steps],
        }.items():
            assert record[name] == pytest.approx(np.average(values[rows], weights=weights[rows]), rel=1e-12)
            assert epoch == 0 or result.metrics[name] == record[name]
        assert "train_gradient_norm" not in record


def wrapped(tree: dict[str, Any], **sections: Any) -> dict[str, Any]:
    """Return a configuration with R-Drop and AWP, both without chance where there is no dropout."""
    awp = {"mode": "awp", "gamma": 0.05, "ascent_rate": 0.1}
    return {**tree, **sections, "plugins": {"progress": False, "rdrop": {}, "adversarial_training": awp}}


@pytest.mark.parametrize("task", weighted.LABELS)
def test_a_row_of_weight_two_is_that_row_twice(task: str, tiny_config: Config) -> None:
    rows = weighted.frame(task)
    once = weighted.train(wrapped(weighted.tree_of(tiny_config, task, "weighted", weight="w")), rows, rows)
    many = weighted.repeated(rows)
    weighted.assert_the_same(once, weighted.train(wrapped(weighted.tree_of(tiny_config, task, "many")), many, many))


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_soft_labels_at_0_and_1_are_hard_ones(task: str, tiny_config: Config) -> None:
    rows, columns = weighted.soft_columns(weighted.frame(task), task)
    hard, soft = (weighted.tree_of(tiny_config, task, name, weight="w", **more) for name, more in (
        ("hard", {}), ("soft", {"soft_labels": columns})))  # fmt: skip
    one, other = (weighted.train(wrapped(tree), rows, rows) for tree in (hard, soft))
    weighted.assert_the_same(one, other, close=1e-7)


def test_class_weights_count_in_both_passes_and_at_the_moved_weights(tiny_config: Config) -> None:
    """A class weight of 3 is a row weight of 3, but for the sum that the total is divided by."""
    rows = weighted.frame("binary")
    rows["w"] = np.where(rows["label"] == "yes", 3, 1)
    tree = weighted.tree_of(tiny_config, "binary", "classes")
    loss = {"type": "cross_entropy", "class_weights": {"yes": 3.0, "no": 1.0}}
    tree["training"]["num_epochs"] = 1
    plugins = {"progress": False, "adversarial_training": {"epsilon": 0.5}, "gradient_clipping": False}
    by_class = weighted.train({**tree, "loss": loss, "plugins": plugins}, rows)
    other = weighted.tree_of(tiny_config, "binary", "rows", weight="w")
    other["training"]["num_epochs"] = 1
    other["optimizer"]["learning_rate"] *= 2  # half of the rows weigh 3: the mean weight is 2
    by_row = weighted.train({**other, "plugins": plugins}, rows)
    [(one, *_)], [(two, *_)] = by_class[2].steps, by_row[2].steps
    assert one == pytest.approx(2 * two, rel=1e-5)
    arrays = by_row[0].model.tensors()
    for name, array in by_class[0].model.tensors().items():
        np.testing.assert_allclose(np.array(array), np.array(arrays[name]), atol=2e-6, err_msg=name)


def test_an_ordinal_head_says_probabilities_of_classes(tiny_config: Config) -> None:
    tree = weighted.tree_of(tiny_config, "multiclass", "ordinal")
    tree["model"] = {**tree["model"], "head": {"type": "ordinal", "order": ["a", "b", "c"]}, "hidden_dropout": 0.2}
    steps = Steps()
    plugins = {"progress": False, **PLUGINS}
    create_trainer(config={**tree, "plugins": plugins}, plugins=[steps]).train(weighted.frame("multiclass"))
    assert all(0 < step.scalars["rdrop_kl"] < 1 and np.isfinite(step.loss) for step in steps.steps)


def test_fgm_and_awp_beside_each_other(tiny_config: Config) -> None:
    awp = {"use": "stepbus_plugins.adversarial_training:AdversarialTraining", "mode": "awp", "from_step": 2}
    found = fitted(tree_of(tiny_config, {"adversarial_training": {}, "awp": awp}, training={"max_steps": 4}))
    first, last = (set(step.scalars) - {"gradient_norm"} for step in (found.steps[0], found.steps[-1]))
    assert (first, last) == ({"adversarial_loss"}, {"adversarial_loss", "adversarial_loss_awp"})
    with pytest.raises(BadInput, match=r"plugins\.awp\.from_step: expected a beginning before the end"):
        fitted(tree_of(tiny_config, {"awp": {**awp, "from_step": 99}}))


@pytest.mark.parametrize("cut", [2, 3, 4])
def test_a_resume_on_either_side_of_the_beginning_has_the_same_bits(
    cut: int, tiny_config: Config, tmp_path: Path
) -> None:
    plugins = {**PLUGINS, "adversarial_training": {"from_step": 3, "mode": "awp"}}
    sections = {"data": {"batch_size": 8}, "training": {"num_epochs": 1}}
    whole = fitted(tree_of(tiny_config, plugins, environment={"output_dir": str(tmp_path / "whole")}, **sections))
    tree = tree_of(tiny_config, plugins, **sections)
    with pytest.raises(KeyboardInterrupt):
        fitted(tree, cut=cut)
    rest = fitted(tree, resume=True)
    assert rest.losses == whole.losses[cut:]
    assert ["adversarial_loss" in step.scalars for step in whole.steps] == [False] * 3 + [True] * 3
    for name, array in whole.weights[-1].items():
        assert np.array_equal(array, rest.weights[-1][name]), name


class Overflow:
    """Makes every loss infinite."""

    @hookimpl
    def wrap_loss(self, loss: Any) -> Any:
        return lambda forward, batch: (loss(forward, batch)[0] * float("inf"), {})


@pytest.mark.parametrize("mode", ["fgm", "awp"])
def test_moved_weights_stay_nowhere_where_an_update_is_skipped(mode: str, tiny_config: Config) -> None:
    adversarial = {"mode": mode, "clean_weight": 0.0}
    plugins = {"adversarial_training": adversarial, "nan_guard": False}
    tree = tree_of(tiny_config, plugins, training={"max_steps": 2})
    found = fitted(tree, Overflow())
    plain = fitted(tree_of(tiny_config, {"nan_guard": False}, training={"max_steps": 2}), Overflow())
    assert [step.skipped for step in found.steps] == [True, True]
    for name, array in plain.weights[-1].items():
        assert np.array_equal(array, found.weights[-1][name]), name


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plugins", "said"),
    [
        (
            {"adversarial_training": {"from_epoch": 3}},
            "from_epoch: expected a beginning before the end of the fit, got 3",
        ),
        (
            {"adversarial_training": {"from_step": 22}},
            "from_step: expected a beginning before the end of the fit, got 22",
        ),
        ({"adversarial_training": {"epsilo": 2}}, "did you mean 'epsilon'?"),
        ({"rdrop": {"alpha": 0}}, "alpha: expected a number above 0, got 0"),
        ({"multi_sample_dropout": {"samples": 1}}, "samples: expected a whole number of at least 2, got 1"),
        ({"multi_sample_dropout": {"dropout": 1}}, "dropout: expected a number between 0 and 1, got 1"),
    ],
)
def test_settings_that_cannot_work(plugins: Any, said: str, tiny_config: Config) -> None:
    with pytest.raises(BadInput) as caught:
        fitted(tree_of(tiny_config, plugins))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("plugins", "more", "said"),
    [
        (
            {"rdrop": {}},
            {},
            "data.task: expected binary, multiclass, multilabel or regression, by which rdrop compares",
        ),
        ({"multi_sample_dropout": {}}, {}, "expected a classifier of text, whose pooled vectors"),
        (
            {"adversarial_training": {}},
            {},
            "parameters: expected patterns of the model's 2 parameters, such as 'words.weight', got '*word_emb",
        ),
    ],
)
def test_what_a_module_of_ones_own_does_not_have(plugins: Any, more: Any, said: str, tmp_path: Path) -> None:
    tree = {"environment": {"output_dir": str(tmp_path / "run")}, "plugins": {"progress": False, **plugins}}
    with pytest.raises(BadInput) as caught:
        create_trainer(Words(), config=tree, loss=squared_error, **more).train(BATCHES)
    assert said in str(caught.value)


def test_an_epoch_whose_updates_nobody_counts_is_no_beginning(tmp_path: Path) -> None:
    def fitted_from(**place: int) -> Steps:
        steps = Steps()
        adversarial = {"parameters": ["words.*"], **place}
        tree = {
            "environment": {"output_dir": str(tmp_path / "run")},
            "training": {"max_steps": 6},
            "plugins": {"progress": False, "adversarial_training": adversarial},
        }
        trainer = create_trainer(Words(), config=tree, loss=squared_error, plugins=[steps])
        trainer.train(lambda epoch: iter(BATCHES))
        return steps

    with pytest.raises(BadInput) as caught:
        fitted_from(from_epoch=2)
    assert str(caught.value) == (
        "plugins.adversarial_training.from_epoch: expected from_step, because nobody can count the updates of an epoch "
        "before it has ended, got from_epoch: 2"
    )
    steps = fitted_from(from_step=5).steps
    assert ["adversarial_loss" in step.scalars for step in steps] == [False] * 5 + [True]
