"""Averages of the weights in real fits: evaluated, chosen as best and exported in place of the weights of training."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten
from safetensors.numpy import load_file

from stepbus import ConfigError, PluginError, StepbusError, create_trainer, hookimpl, open_trainer

Make = Callable[..., dict[str, Any]]
Weights = dict[str, np.ndarray[Any, Any]]
CONSTANT = {"scheduler": {"type": "constant"}}
FREE = {**CONSTANT, "optimizer": {"type": "schedule_free", "learning_rate": 1e-2}}
AVERAGES: dict[str, dict[str, Any]] = {
    "ema": {**CONSTANT, "plugins": {"ema": {"decay": 0.9}}},
    "swa": {**CONSTANT, "plugins": {"swa": {"from_step": 3, "every": 2}}},
    "schedule_free": FREE,
}
SHORT = {"max_steps": 10}
EVERY_STEP = {"eval_strategy": "steps", "eval_steps": 1, "monitor": "eval_loss", "greater_is_better": None}
SAVED = {"save_strategy": "steps", "save_steps": 3, "keep_last": 100, "keep_whole": True}


def arrays_of(model: Any) -> Weights:
    flat: Any = tree_flatten(model.parameters())
    return {name: np.array(array) for name, array in flat}


def config(make: Make, name: str, **sections: Any) -> dict[str, Any]:
    """Return a configuration of a fit whose weights are averaged."""
    tree = make(optimizer={"learning_rate": 1e-2})
    for given in (AVERAGES[name], sections):
        for section, values in given.items():
            tree[section] = {**tree.get(section, {}), **values}
    return tree


class Watches:
    """Keeps the weights in the model after each update and before the first, and what was said of each evaluation."""

    affects_result = False

    def __init__(self) -> None:
        self.weights: list[Weights] = []
        self.at_metrics: dict[int, Weights] = {}
        self.losses: list[float] = []
        self.predictions: list[tuple[bool, np.ndarray[Any, Any]]] = []

    @hookimpl
    def on_fit_start(self, trainer: Any) -> None:
        self.weights.append(arrays_of(trainer.model))

    @hookimpl
    def on_step_end(self, trainer: Any, step: Any) -> None:
        self.weights.append(arrays_of(trainer.model))
        self.losses.append(step.loss)

    @hookimpl
    def on_predictions(self, predictions: Any, final: bool) -> None:
        self.predictions.append((final, predictions.values))

    @hookimpl
    def on_metrics(self, trainer: Any, state: Any) -> None:
        self.at_metrics[state.step] = arrays_of(trainer.model)


def averaged(name: str, path: list[Weights]) -> Weights:
    """Return the averages after a path of weights, in float64; of Schedule-Free these alone do not tell."""
    if name == "ema":
        found = {key: value.astype(np.float64) for key, value in path[0].items()}
        for number, weights in enumerate(path[1:], 1):
            kept = min(0.9, (1 + number) / (10 + number))
            found = {key: kept * mean + (1 - kept) * weights[key] for key, mean in found.items()}
        return found
    taken = path[5::2] or path[-1:]
    return {key: np.mean([weights[key].astype(np.float64) for weights in taken], axis=0) for key in path[0]}


def close(found: Weights, expected: Weights) -> None:
    assert found.keys() == expected.keys()
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-6, err_msg=name)


def same(one: Any, other: Any) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", ["ema", "swa"])
@pytest.mark.parametrize("accumulated", [1, 2])
def test_what_is_exported_is_the_average_of_the_weights_that_training_went_through(
    name: str, accumulated: int, tiny_config: Make
) -> None:
    seen = Watches()
    tree = config(tiny_config, name, training={"gradient_accumulation_steps": accumulated})
    trainer = create_trainer(config=tree, plugins=[seen])
    result = trainer.train()
    expected = averaged(name, seen.weights)
    close(arrays_of(trainer.model), expected)
    far = [np.abs(expected[key] - seen.weights[-1][key]).max() for key in expected]
    assert max(far) > 1e-3  # else it says nothing
    assert result.model_path is not None
    exported = load_file(result.model_path / "model.safetensors")
    assert same(exported, {key: np.array(value) for key, value in trainer.model.tensors().items()})
    tree["training"]["pipeline_depth"] = 1
    ahead = create_trainer(config=tree)
    ahead.train()
    assert same(arrays_of(ahead.model), arrays_of(trainer.model))


@pytest.mark.parametrize("name", AVERAGES)
@pytest.mark.parametrize("depth", [0, 1])
def test_training_goes_on_with_its_own_weights(name: str, depth: int, tiny_config: Make) -> None:
    """Losses and weights are those of a fit that evaluates nothing; hooks meet the weights of training."""
    watched, quiet = Watches(), Watches()
    often = {**EVERY_STEP, "pipeline_depth": depth}
    create_trainer(config=config(tiny_config, name, training=often), plugins=[watched]).train()
    tree = config(tiny_config, name, training={"eval_strategy": "no"})
    if name != "schedule_free":
        tree["plugins"].pop(name)
    create_trainer(config=tree, plugins=[quiet]).train()
    assert watched.losses == quiet.losses
    assert len(watched.weights) == len(quiet.weights) == 23
    for number in range(23) if depth == 0 else (0, 22):  # else the device is ahead of the host
        assert same(watched.weights[number], quiet.weights[number])
    assert all(same(weights, quiet.weights[step]) for step, weights in watched.at_metrics.items())


@pytest.mark.parametrize("name", AVERAGES)
@pytest.mark.parametrize("depth", [0, 1])
def test_with_early_stopping_the_best_averages_are_exported_and_score_the_same_once_more(
    name: str, depth: int, tiny_config: Make, review_files: dict[str, Path]
) -> None:
    plugins = {"early_stopping": {"patience": 2}, "checkpoint": {**SAVED, "save_steps": 1}}
    sections = {"training": {**EVERY_STEP, "pipeline_depth": depth, "num_epochs": 4}, "plugins": plugins}
    tree = config(tiny_config, name, **sections, optimizer={"learning_rate": 0.05})
    if name == "swa":
        tree["plugins"]["swa"] = {"from_step": 0, "every": 1}
    seen = Watches()
    trainer = create_trainer(config=tree, plugins=[seen])
    result = trainer.train()
    best = result.best
    assert best is not None
    assert (result.status, best.step < result.steps) == ("stopped", True)
    values = {record["step"]: record["eval_loss"] for record in result.history}
    assert (best.step, best.value) == min(((step, value) for step, value in values.items()), key=lambda pair: pair[1])
    assert result.metrics["eval_loss"] == best.value
    assert trainer.evaluate(str(review_files["dev"]))["eval_loss"] == best.value
    assert open_trainer(result.model_path).evaluate(str(review_files["dev"]))["eval_loss"] == best.value
    checkpoint = result.directory / "fits" / "fit" / "checkpoints" / f"step-{best.step:08d}"
    exported = load_file(result.model_path / "model.safetensors")
    assert same(exported, load_file(checkpoint / "averaged.safetensors"))
    assert same(exported, load_file(checkpoint / "best.safetensors"))
    assert not same(exported, load_file(checkpoint / "model.safetensors"))
    if name == "ema" and depth == 0:
        close(arrays_of(trainer.model), averaged(name, seen.weights[: best.step + 1]))
    final, last = seen.predictions[-1]
    assert final
    assert np.array_equal(last, seen.predictions[best.step - 1][1])


@pytest.mark.parametrize("name", AVERAGES)
def test_a_checkpoint_opens_with_the_averages_and_says_so(
    name: str, tiny_config: Make, review_files: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    tree = config(tiny_config, name, training={**EVERY_STEP, **SHORT}, plugins={"checkpoint": SAVED})
    result = create_trainer(config=tree).train()
    values = {record["step"]: record["eval_loss"] for record in result.history}
    path = result.directory / "fits" / "fit" / "checkpoints" / "step-00000006"
    with caplog.at_level(logging.WARNING):
        opened = open_trainer(path)
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: its averaged weights are used, from averaged.safetensors; model.safetensors has those of training"
    ]
    assert opened.evaluate(str(review_files["dev"]))["eval_loss"] == values[6]
    seen = Watches()
    trainer = create_trainer(
        config={
            **tree,
            "training": {"max_steps": 4, "eval_strategy": "no"},
            "model": {"pretrained": str(path)},
            "environment": {"output_dir": str(path.parents[3] / "next")},
        },
        plugins=[seen],
    )
    trainer.train()
    assert same({key: seen.weights[0][key] for key in seen.weights[0]}, arrays_of(opened.model))


def test_without_averages_a_checkpoint_holds_and_says_nothing_more(
    tiny_config: Make, caplog: pytest.LogCaptureFixture
) -> None:
    tree = tiny_config(training={**EVERY_STEP, **SHORT}, plugins={"checkpoint": SAVED, "early_stopping": True})
    result = create_trainer(config=tree).train()
    assert not list(result.directory.rglob("averaged.safetensors"))
    assert result.best is not None
    for path in (result.directory / "fits" / "fit" / "checkpoints").glob("step-*"):
        state = json.loads((path / "state.json").read_text())["state"]
        assert (path / "best.safetensors").exists() == (
            state["best"] is not None and state["best"]["step"] < state["step"]
        )
    open_trainer(path)
    assert not caplog.records


@pytest.mark.parametrize("name", AVERAGES)
def test_a_second_train_starts_from_what_was_exported_with_fresh_averages(name: str, tiny_config: Make) -> None:
    seen = Watches()
    trainer = create_trainer(config=config(tiny_config, name), plugins=[seen])
    trainer.train()
    exported = arrays_of(trainer.model)
    one = len(seen.weights)
    trainer.train()
    assert same(seen.weights[one], exported)
    if name != "schedule_free":
        close(arrays_of(trainer.model), averaged(name, seen.weights[one:]))
    else:
        assert not same(arrays_of(trainer.model), seen.weights[-1])


@pytest.mark.parametrize("name", AVERAGES)
def test_a_checkpoint_that_was_loaded_predicts_with_the_averages_and_trains_on_from_its_own_weights(
    name: str, tiny_config: Make, review_files: dict[str, Path], tmp_path: Path
) -> None:
    tree = config(tiny_config, name, training={**EVERY_STEP, **SHORT}, plugins={"checkpoint": SAVED})
    seen = Watches()
    trainer = create_trainer(config=tree, plugins=[seen])
    result = trainer.train()
    exported, path = arrays_of(trainer.model), seen.weights
    values = {record["step"]: record["eval_loss"] for record in result.history}
    trainer.load_checkpoint(result.directory / "fits" / "fit" / "checkpoints" / "step-00000006")
    assert trainer.evaluate(str(review_files["dev"]))["eval_loss"] == values[6]
    seen.weights = []
    again = trainer.train()
    assert same(seen.weights[0], path[6])
    assert same(arrays_of(trainer.model), exported)
    assert [record["eval_loss"] for record in again.history] == [record["eval_loss"] for record in result.history]


@pytest.mark.parametrize("name", AVERAGES)
def test_without_the_optimizers_state_averages_begin_anew_from_the_loaded_weights(name: str, tiny_config: Make) -> None:
    tree = config(tiny_config, name, training={**EVERY_STEP, **SHORT}, plugins={"checkpoint": SAVED})
    result = create_trainer(config=tree).train()
    checkpoint = result.directory / "fits" / "fit" / "checkpoints" / "step-00000006"
    own, offered = dict[str, Any](), dict[str, Any]()

    class Looks:
        @hookimpl
        def on_fit_start(self, trainer: Any, state: Any) -> None:
            trainer.load_checkpoint(checkpoint, load_optimizer=False)
            assert state.step == 6
            own.update({key: np.array(value) for key, value in trainer.model.tensors().items()})
            offered.update(arrays_now(trainer))
            assert same(offered, arrays_of(trainer.model))

    seen = Watches()
    trainer = create_trainer(config=tree, plugins=[Looks, seen])
    trainer.train()
    assert same(own, load_file(checkpoint / "model.safetensors"))
    assert offered
    assert len(seen.weights) == 1 + 10 - 6
    if name == "swa":
        taken = [seen.weights[step - 6] for step in (7, 9)]
        close(
            arrays_of(trainer.model),
            {key: np.mean([each[key] for each in taken], axis=0) for key in own_names(trainer)},
        )


def own_names(trainer: Any) -> list[str]:
    return list(arrays_of(trainer.model))


@pytest.mark.parametrize("name", AVERAGES)
def test_a_failure_in_the_middle_of_an_evaluation_leaves_the_weights_of_training(name: str, tiny_config: Make) -> None:
    seen = Watches()

    class Fails:
        @hookimpl
        def on_evaluate(self, state: Any) -> None:
            if state.step == 5:
                raise StepbusError("no more")

    trainer = create_trainer(config=config(tiny_config, name, training={**EVERY_STEP, **SHORT}), plugins=[seen, Fails])
    with pytest.raises(StepbusError, match="no more"):
        trainer.train()
    assert same(arrays_of(trainer.model), seen.weights[5])


@pytest.mark.parametrize("name", AVERAGES)
def test_a_fit_that_was_cut_predicts_with_its_averages(
    name: str, tiny_config: Make, review_files: dict[str, Path]
) -> None:
    scored: dict[int, float] = {}

    class Cuts:
        affects_result = False

        @hookimpl
        def on_metrics(self, trainer: Any, state: Any, metrics: Any) -> None:
            scored[state.step] = metrics["eval_loss"]
            if state.step == 6:
                trainer.run.signal = 2

    trainer = create_trainer(config=config(tiny_config, name, training={**EVERY_STEP, **SHORT}), plugins=[Cuts])
    with pytest.raises(Exception, match="interrupted"):
        trainer.train()
    assert trainer.evaluate(str(review_files["dev"]))["eval_loss"] == scored[6]
    assert trainer.save_checkpoint().parent.name == "by-hand"  # the averages were put in place of the weights


def test_only_what_is_trained_is_averaged_and_what_begins_late_from_where_it_stood(tiny_config: Make) -> None:
    class Late:
        """The embeddings are frozen, and the encoder's layers begin after five updates."""

        @hookimpl
        def phases(self) -> list[int]:
            return [5]

        @hookimpl
        def trained_parameters(self, names: Any, step: int) -> list[str]:
            return [name for name in names if ".embeddings." not in name and (step >= 5 or ".layer." not in name)]

    for name in AVERAGES:
        seen = Watches()
        trainer = create_trainer(config=config(tiny_config, name), plugins=[seen, Late])
        trainer.train()
        found, path = arrays_of(trainer.model), seen.weights
        frozen = [key for key in found if ".embeddings." in key]
        late = [key for key in found if ".layer." in key]
        assert frozen and late
        assert all(np.array_equal(found[key], path[0][key]) for key in frozen)
        assert all(np.array_equal(path[5][key], path[0][key]) for key in late)
        assert any(not np.array_equal(path[6][key], path[0][key]) for key in late)
        if name != "schedule_free":
            close(found, averaged(name, path))


@pytest.mark.parametrize("name", AVERAGES)
def test_an_update_that_is_skipped_is_no_update_of_the_average(name: str, tiny_config: Make) -> None:
    """But of `swa`, which takes weights after so many updates, whether each changed something or not."""

    class Overflows:
        """The gradients of the fifth update are infinite."""

        @hookimpl
        def wrap_gradient(self, trainer: Any, value_and_grad: Any) -> Any:
            def wrapped(parameters: Any, batch: Any) -> Any:
                *sums, gradients = value_and_grad(parameters, batch)
                # Its rate tells it: a skipped update is not counted by the optimizer.
                factor = mx.where(trainer.optimizer.state["learning_rate"] == 0.5, mx.inf, 1.0)
                return (*sums, {key: array * factor for key, array in gradients.items()})

            return wrapped

        @hookimpl
        def on_step_end(self, trainer: Any, state: Any) -> None:
            trainer.optimizer.learning_rate = 0.5 if state.step == 4 else 1e-2
            offered.append(arrays_now(trainer))

    offered: list[Weights] = []
    seen = Watches()
    trainer = create_trainer(
        config=config(tiny_config, name, training={"max_steps": 9}, plugins={"nan_guard": False}),
        plugins=[Overflows, seen],
    )
    trainer.train()
    path = seen.weights
    assert same(path[5], path[4]) and not same(path[6], path[5])
    assert same(offered[4], offered[3]) and same(offered[5], offered[4]) is (name == "swa")  # of weights 5, 7 and 9
    if name != "schedule_free":
        close(arrays_of(trainer.model), averaged(name, path if name == "swa" else path[:5] + path[6:]))


def arrays_now(trainer: Any) -> Weights:
    """Return the averages that are offered at this moment."""
    found = trainer.optimizer.averages.of(trainer.optimizer.trained(trainer.model))
    return {name: np.array(array) for name, array in found.items()}


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        (
            {"plugins": {"ema": {}, "swa": {}}},
            "got ema and swa; switch ema off or switch swa off",
        ),
        (
            {**FREE, "plugins": {"ema": {}}},
            "got ema and optimizer.type: schedule_free; switch ema off or take another optimizer",
        ),
        ({**FREE, "plugins": {"swa": {}}}, "switch swa off or take another optimizer"),
        (
            {**FREE, "plugins": {"ema": {}, "swa": {}}},
            "got ema, swa and optimizer.type: schedule_free; leave one alone: switch ema off, "
            "switch swa off and take another optimizer",
        ),
    ],
)
def test_two_that_average_are_a_problem_of_the_plan(sections: Any, words: str, tiny_config: Make) -> None:
    with pytest.raises(ConfigError) as raised:
        create_trainer(config=tiny_config(**sections)).train()
    assert words in str(raised.value)
    assert "expected one that averages the weights and has its averages evaluated, got " in str(raised.value)


class Mine:
    """Evaluates the last weights but one."""

    averages = True

    @hookimpl
    def after_update(self, trainer: Any) -> Any:
        now = trainer.optimizer.trained(trainer.model)

        def follow(parameters: Any, arrays: Any) -> Any:
            return {"now": parameters, "before": arrays["now"]}

        return {"now": now, "before": now}, follow, lambda parameters, arrays: arrays["before"]


def test_a_strangers_weights_count_and_are_known_to_the_plan(tiny_config: Make) -> None:
    seen = Watches()
    trainer = create_trainer(config=tiny_config(), plugins=[seen, Mine])
    trainer.train()
    assert same(arrays_of(trainer.model), seen.weights[-2])
    with pytest.raises(ConfigError, match="got ema and mine; switch ema off or switch mine off"):
        create_trainer(config=tiny_config(plugins={"ema": {}}), plugins=[Mine]).train()


def test_weights_that_nobody_declared_are_refused_with_the_line_to_write(tiny_config: Make) -> None:
    class Undeclared(Mine):
        averages = False

    with pytest.raises(PluginError, match=r"after_update gives weights .* write averages = True in the class Undeclar"):
        create_trainer(config=tiny_config(), plugins=[Undeclared]).train()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda parameters, arrays: None, "weights: expected {name: array} of parameters, got None"),
        (
            lambda parameters, arrays: {"head.weigth": mx.zeros((2,))},
            "got 'head.weigth', which is none that is trained",
        ),
        (lambda parameters, arrays: {next(iter(parameters)): mx.zeros((2,))}, r"float32 \[.*\], got float32 \[2\]"),
        (lambda parameters, arrays: {next(iter(parameters)): 1.0}, r"got 1\.0"),
        (lambda parameters, arrays: 1 / 0, "its weights of parameters and arrays raised ZeroDivisionError"),
    ],
)
def test_what_is_no_average_is_said(given: Any, words: str, tiny_config: Make) -> None:
    class Wrong(Mine):
        @hookimpl
        def after_update(self, trainer: Any) -> Any:
            return (*Mine.after_update(self, trainer)[:2], given)

    with pytest.raises(StepbusError, match=words):
        create_trainer(config=tiny_config(), plugins=[Wrong]).train()


def test_every_fold_averages_its_own(tiny_config: Make) -> None:
    """Folds of other lengths, whose epochs end at other updates, share nothing of what follows their weights."""
    seen = Watches()
    seen.scope = "run"  # type: ignore[attr-defined]

    class Keeps:
        scope = "run"
        starts: ClassVar[list[int]] = []
        ends: ClassVar[list[Weights]] = []
        rhythm: ClassVar[list[int]] = []

        @hookimpl
        def on_fit_start(self, trainer: Any, state: Any) -> None:
            self.starts.append(len(seen.weights) - 1)
            self.rhythm.append(state.steps_per_epoch)

        @hookimpl
        def on_fit_end(self, trainer: Any) -> None:
            self.ends.append(arrays_of(trainer.model))

    tree = tiny_config(**CONSTANT, plugins={"swa": {}, "cross_validation": {"folds": 3}}, data={"batch_size": 1})
    tree["data"].pop("validation")
    create_trainer(config=tree, plugins=[seen, Keeps]).train()
    assert len(set(Keeps.rhythm)) == 2
    for number, start in enumerate(Keeps.starts):
        stop = [*Keeps.starts, None][number + 1]
        path, steps = seen.weights[start:stop], Keeps.rhythm[number]
        expected = {key: (path[steps][key].astype(np.float64) + path[2 * steps][key]) / 2 for key in path[0]}
        close(Keeps.ends[number], expected)


class Net(nn.Module):
    def __init__(self, *, running: bool) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(4, 8), nn.Linear(8, 2)
        if running:
            self.norm = nn.BatchNorm(8)

    def __call__(self, x: mx.array) -> mx.array:
        hidden = self.inner(x)
        return self.outer(mx.tanh(self.norm(hidden) if "norm" in self else hidden))


def batches(number: int, seed: int) -> list[dict[str, Any]]:
    draw = np.random.default_rng(seed)
    return [{"x": draw.normal(size=(8, 4)).astype(np.float32), "labels": draw.integers(0, 2, 8)} for _ in range(number)]


@pytest.mark.parametrize("name", AVERAGES)
@pytest.mark.parametrize("running", [False, True])
def test_any_module_on_any_batches_is_averaged_and_running_means_that_are_not_are_said(
    name: str, running: bool, tmp_path: Path
) -> None:
    said: list[str] = []

    class Hears:
        scope, affects_result = "run", False

        @hookimpl
        def on_message(self, text: str, level: str) -> None:
            said.extend([text] if level == "warning" else [])

    seen = Watches()
    sections = {
        **CONSTANT,
        **AVERAGES[name],
        "training": {"num_epochs": 3},
        "environment": {"output_dir": str(tmp_path)},
    }
    sections["plugins"] = {"progress": False, **AVERAGES[name].get("plugins", {})}
    model = Net(running=running)
    trainer = create_trainer(model, config=sections, loss=nn.losses.cross_entropy, plugins=[seen, Hears])
    result = trainer.train(batches(6, 1), batches(2, 2))
    assert trainer.model is model
    found = arrays_of(model)
    trained = [key for key in found if "running" not in key]
    assert not same({key: found[key] for key in trained}, {key: seen.weights[-1][key] for key in trained})
    if name != "schedule_free":
        expected = averaged(name, seen.weights)
        close({key: found[key] for key in trained}, {key: expected[key] for key in trained})
    assert all(np.array_equal(found[key], seen.weights[-1][key]) for key in found.keys() - trained)
    assert trainer.evaluate(batches(2, 2))["eval_loss"] == result.metrics["eval_loss"]
    who = "optimizer.type: schedule_free" if name == "schedule_free" else name
    words = f"{who} averages what is trained, which the running means of norm are not"
    assert [words in text for text in said if "running means" in text] == [True] * running


def test_averages_of_some_parameters_are_refused_before_the_first_update(tiny_config: Make) -> None:
    """The others were evaluated and exported as training had left them."""

    class Some:
        averages = True

        @hookimpl
        def after_update(self) -> Any:
            return {}, lambda parameters, arrays: arrays, lambda parameters, arrays: dict([*parameters.items()][1:])

    watches = Watches()
    with pytest.raises(
        StepbusError, match=r"^Some \(passed in Python\): after_update: weights: .*got none of 'encoder\."
    ):
        create_trainer(config=tiny_config(), plugins=[Some(), watches]).train()
    assert watches.losses == []
