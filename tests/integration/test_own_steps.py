"""Trainers with a training step of their own: the original's as it is printed, and what is wrong with others."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_map

from stepbus import (
    BadInput,
    BaseTrainer,
    CheckpointError,
    ConfigError,
    PluginError,
    PluginFailure,
    StepbusError,
    Trainer,
    create_trainer,
    hookimpl,
    load_config,
    mx,
    open_trainer,
)
from stepbus.storage.checkpoints import step_of
from stepbus.testing import tiny_fit

Make = Callable[..., dict[str, Any]]


class CustomTrainer(BaseTrainer):
    def training_step(self, batch, state):  # type: ignore[no-untyped-def]  # as the original prints it
        # Custom training logic
        loss, grads = self.compute_loss_and_gradients(batch)

        # Custom gradient processing
        grads = self.process_gradients(grads)

        # Update
        self.optimizer.update(self.model, grads)
        return loss


class Scales(BaseTrainer):
    """Scales the gradients by what it was made with."""

    def __init__(self, *arguments: Any, scale: float = 1.0, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.scale = scale
        self.ones = mx.array([1.0])

    def process_gradients(self, gradients: Any) -> Any:
        return self.scaled(gradients)

    def scaled(self, gradients: Any) -> Any:
        return tree_map(lambda array: array * self.scale * self.ones[0], gradients)


class Net(nn.Module):
    """The smallest model there is."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def __call__(self, x: Any) -> Any:
        return self.layer(x)


BATCH = {"x": np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32), "labels": np.array([0, 1, 1, 0])}


def net_trainer(cls: Any, folder: Path, **more: Any) -> Any:
    mx.random.seed(1)
    settings = {"output_dir": str(folder), "progress": False, **more}
    return cls(Net(), loss=nn.losses.cross_entropy, **settings)


def records(done: Any) -> list[dict[str, float]]:
    kept = ("loss", "gradient_norm", "learning_rate")
    return [{name: record[name] for name in kept if name in record} for record in done.records]


def weights(trainer: Any) -> dict[str, Any]:
    return {name: np.array(array) for name, array in trainer.model.tensors().items()}


def same(one: Any, other: Any) -> bool:
    return all(np.array_equal(array, weights(other)[name]) for name, array in weights(one).items())


# As it is printed -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"training": {"precision": "float16", "pipeline_depth": 1}},
        {"optimizer": {"type": "lion"}, "loss": {"type": "focal"}},
        {"freeze": {"gradual": True, "unfreeze_by": "updates"}, "ema": {"decay": 0.9}},
    ],
)
def test_the_originals_trainer_has_the_bits_of_the_plain_one(more: dict[str, Any]) -> None:
    # Every record, with the norm that gradient_clipping gives: what plugins do to gradients is done in its update.
    plain, custom = (tiny_fit(trainer_class=cls, num_epochs=2, **more) for cls in (Trainer, CustomTrainer))
    assert records(plain) == records(custom)
    assert "gradient_norm" in records(custom)[0]
    assert plain.result.metrics == custom.result.metrics
    assert same(plain.trainer, custom.trainer)


def test_it_is_made_as_create_trainer_makes_one(tiny_config: Make) -> None:
    config = load_config(tiny_config(training={"max_steps": 3}))
    made = [
        CustomTrainer(config),
        CustomTrainer(config=config),
        create_trainer(config=config, trainer_class=CustomTrainer),
    ]
    assert {type(each) for each in made} == {CustomTrainer}
    for trainer in made:
        trainer.update_config(output_dir=str(Path(trainer.config.environment.output_dir).with_name(f"{id(trainer)}")))
        assert trainer.train().steps == 3
    assert same(made[0], made[1])
    assert same(made[0], made[2])


def test_model_and_configuration_in_either_order() -> None:
    config, net = load_config(), Net()
    for trainer in (
        CustomTrainer(net, config, loss=nn.losses.cross_entropy),
        CustomTrainer(config, net, loss=nn.losses.cross_entropy),
        CustomTrainer(net, "quick_test", loss=nn.losses.cross_entropy, learning_rate=1e-3),
    ):
        assert trainer.model is net
    assert trainer.config.optimizer.settings.learning_rate == 1e-3


def test_a_module_on_a_loader(tmp_path: Path) -> None:
    found = []
    for cls in (Trainer, CustomTrainer):
        trainer = net_trainer(cls, tmp_path / cls.__name__, num_epochs=2)
        trainer.train([BATCH] * 3)
        found.append(np.array(trainer.model.layer.weight))
    np.testing.assert_array_equal(*found)


def test_an_override_by_hand_computes_the_same() -> None:
    class ByHand(BaseTrainer):
        def compute_loss_and_gradients(self, batch: Any) -> Any:
            def loss(model: Any) -> Any:
                rows = nn.losses.cross_entropy(model(batch), batch["labels"])
                return (rows * batch["weights"]).sum() / batch["weights"].sum()

            return nn.value_and_grad(self.model, loss)(self.model)

    plain, custom = (tiny_fit(trainer_class=cls, num_epochs=2) for cls in (Trainer, ByHand))
    for one, other in zip(records(plain), records(custom), strict=True):
        assert other == pytest.approx(one, rel=1e-5)
    for name, array in weights(plain.trainer).items():
        np.testing.assert_allclose(weights(custom.trainer)[name], array, atol=1e-5)


def test_helpers_and_attributes_of_the_users_are_reachable() -> None:
    # SGD with clipping off: a gradient times a half is a rate times a half.
    sections = {"optimizer": {"type": "sgd", "learning_rate": 1e-2}, "gradient_clipping": False, "num_epochs": 1}
    half = tiny_fit(trainer_class=Scales, scale=0.5, **sections)
    sections["optimizer"] = {"type": "sgd", "learning_rate": 5e-3}
    plain = tiny_fit(**sections)
    assert same(half.trainer, plain.trainer)


def test_state_and_named_numbers() -> None:
    class Tells(BaseTrainer):
        def training_step(self, batch: Any, state: Any) -> Any:
            loss, gradients = self.compute_loss_and_gradients(batch)
            self.optimizer.update(self.model, gradients)
            assert self.state is state
            assert state.total_steps == 6
            assert self.config.training.num_epochs == 2
            late = mx.where(state.step >= 2, 1.0, 0.0)
            return loss, {"late": late, "epoch_now": state.epoch, "rate": state.learning_rate}

    done = tiny_fit(trainer_class=Tells, num_epochs=2)
    assert [record["late"] for record in done.records] == [0, 0, 1, 1, 1, 1]
    assert [record["epoch_now"] for record in done.records] == [0, 0, 0, 1, 1, 1]
    assert [record["rate"] for record in done.records] == [
        pytest.approx(record["learning_rate"]) for record in done.records
    ]


def test_folds_share_the_steps_and_each_fit_is_such_a_trainer() -> None:
    sections = {"cross_validation": {"folds": 2}, "validation": False, "num_epochs": 1}
    plain = tiny_fit(**sections)
    done = tiny_fit(trainer_class=Scales, **sections)
    assert [type(each) for each in done.trainer.fits] == [Scales, Scales]
    assert done.trainer.fits[0].scale == 1.0
    assert [part.traces for part in done.result.parts] == [part.traces for part in plain.result.parts]
    for one, other in zip(plain.trainer.fits, done.trainer.fits, strict=True):
        assert same(one, other)


def test_a_fit_of_several_trains_on_with_the_same_step(tmp_path: Path) -> None:
    class Counts(CustomTrainer):
        calls = 0

        def training_step(self, batch: Any, state: Any) -> Any:
            type(self).__mro__[1].calls += 1  # type: ignore[attr-defined]  # of a trace
            return super().training_step(batch, state)

    done = tiny_fit(trainer_class=Counts, cross_validation={"folds": 2}, validation=False, num_epochs=1)
    before, first = Counts.calls, done.trainer.fits[0]
    assert before > 0
    first.update_config(cross_validation=False, output_dir=str(tmp_path / "on"))
    rows = {"id": ["a", "b"], "text": ["good film", "bad plot"], "label": [1, 0]}
    first.train(rows)
    assert Counts.calls > before


# Resumes --------------------------------------------------------------------------------------------------------------


class CutsAt:
    """Ends a run by an error after an update, whose checkpoint is there."""

    def __init__(self, step: int) -> None:
        self.step = step

    @hookimpl
    def on_checkpoint(self, checkpoint: Path) -> None:
        if step_of(checkpoint.name) == self.step:
            raise RuntimeError("cut")


def config_of(tiny_config: Make) -> dict[str, Any]:
    return tiny_config(
        plugins={"progress": False, "checkpoint": {}},
        training={"max_steps": 12, "save_strategy": "steps", "save_steps": 5},
    )


def cut_run(config: dict[str, Any], cls: Any = Scales, **more: Any) -> None:
    plugins = [CutsAt(10)]
    with pytest.raises(PluginFailure, match="cut"):
        cls(config=config, plugins=plugins, **more).train()


def test_a_resume_is_exact_and_compares_code_and_attributes(tiny_config: Make, tmp_path: Path) -> None:
    config = config_of(tiny_config)
    whole = Scales(
        config={**config, "environment": {"output_dir": str(tmp_path / "whole")}}, scale=0.5, plugins=[CutsAt(-1)]
    )
    whole.train()
    cut_run(config, scale=0.5)

    for other in (
        lambda: Scales(config=config, scale=0.4, plugins=[CutsAt(-1)]),
        lambda: Trainer(config=config, plugins=[CutsAt(-1)]),
    ):
        with pytest.raises(CheckpointError, match="scales"):
            other().train(resume=True)
    resumed = Scales(config=config, scale=0.5, plugins=[CutsAt(-1)])
    resumed.train(resume=True)
    assert same(whole, resumed)


def test_a_resume_with_other_code_is_refused(tmp_path: Path) -> None:
    class Scales(BaseTrainer):
        def process_gradients(self, gradients: Any) -> Any:
            return gradients

    def of(cls: Any) -> Any:
        return net_trainer(cls, tmp_path / "run", plugins=[CutsAt(1)], num_epochs=2)

    with pytest.raises(PluginFailure, match="cut"):
        of(Scales).train([BATCH])
    before = Scales

    class Scales(BaseTrainer):  # type: ignore[no-redef]  # the same class, edited
        def process_gradients(self, gradients: Any) -> Any:
            return tree_map(lambda array: array * 2, gradients)

    with pytest.raises(CheckpointError, match="scales"):
        of(Scales).train([BATCH], resume=True)
    with pytest.raises(CheckpointError, match="scales"):
        of(Trainer).train([BATCH], resume=True)
    assert before is not Scales
    assert of(Scales).train([BATCH], resume=True, allow_changed=True).steps == 2


# What is wrong --------------------------------------------------------------------------------------------------------


def failing(folder: Path, method: str, function: Any) -> str:
    cls = type("CustomTrainer", (BaseTrainer,), {method: function})
    with pytest.raises(StepbusError) as caught:
        net_trainer(cls, folder).train([BATCH])
    return str(caught.value)


READS: dict[str, Callable[[Any, Any], Any]] = {
    "print": lambda loss, state: print(loss),
    "item": lambda loss, state: loss.item(),
    "float": lambda loss, state: float(loss),
    "if": lambda loss, state: 1 if loss > 0 else 0,
    "text": lambda loss, state: f"{loss}",
    "numpy": lambda loss, state: np.array(loss),
    "eval": lambda loss, state: mx.eval(loss),
    "async": lambda loss, state: mx.async_eval(loss),
    "step": lambda loss, state: 1 if state.step > 3 else 0,
}


@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
def test_a_step_that_reads_a_value(read: Callable[[Any, Any], Any], tmp_path: Path) -> None:
    def training_step(self: Any, batch: Any, state: Any) -> Any:
        loss, gradients = self.compute_loss_and_gradients(batch)
        read(loss, state)
        self.optimizer.update(self.model, gradients)
        return loss

    said = failing(tmp_path, "training_step", training_step)
    assert said.startswith(
        "CustomTrainer (the trainer's class): training_step: its step reads the value of an array at "
    )
    assert f"{__file__}:{read.__code__.co_firstlineno} (print, item, float, if, a text with it), and in a " in said
    assert said.endswith("; train with stepbus.Trainer, whose steps are those of the configuration")


def with_loss(more: Callable[[Any, Any, Any], Any]) -> Any:
    def training_step(self: Any, batch: Any, state: Any) -> Any:
        loss, gradients = self.compute_loss_and_gradients(batch)
        return more(self, loss, gradients)

    return training_step


def updated(self: Any, gradients: Any, times: int = 1, model: Any = None) -> None:
    for _ in range(times):
        self.optimizer.update(model or self.model, gradients)


STEPS: dict[str, tuple[Callable[[Any, Any, Any], Any], str]] = {
    "no update": (lambda self, loss, _: loss, "expected its step to call optimizer.update(model, gradients), got no"),
    "two updates": (lambda self, loss, g: updated(self, g, 2), "optimizer.update was called twice in one step"),
    "no loss": (
        lambda self, loss, g: updated(self, g),
        "expected its step to return the loss as an array of one number, got ",
    ),
    "rows": (lambda self, loss, g: (updated(self, g), mx.zeros(4))[1], "of one number, got an array [4]"),
    "a number": (lambda self, loss, g: (updated(self, g), 1.0)[1], "of one number, got 1.0"),
    "no gradients": (lambda self, loss, g: updated(self, None), "expected the gradients as a tree of arrays, got None"),
    "a loss": (
        lambda self, loss, g: updated(self, loss),
        "expected the gradients as a tree of arrays, got an array []",
    ),
    "some": (
        lambda self, loss, g: updated(self, {"layer": {"bias": g["layer"]["bias"]}}),
        "expected the gradients of what is trained, got none of 'layer.weight'",
    ),
    "more": (lambda self, loss, g: updated(self, {**g, "other": loss}), "got one of 'other' too"),
    "shape": (
        lambda self, loss, g: updated(self, tree_map(lambda array: array[None], g)),
        "expected the gradient of 'layer.weight' as [2, 3], got an array [1, 2, 3]",
    ),
    "model": (lambda self, loss, g: updated(self, g, model=nn.Linear(2, 2)), "expected the model of the fit, got "),
    "scalar": (
        lambda self, loss, g: (updated(self, g), (loss, {"a": 3}))[1],
        "expected the scalar 'a' as an array of one number, got 3",
    ),
    "name": (
        lambda self, loss, g: (updated(self, g), (loss, {"loss": loss}))[1],
        "got 'loss', which the log has anyway",
    ),
    "twice": (
        lambda self, loss, g: (updated(self, g), (loss, {"gradient_norm": loss}))[1],
        "got 'gradient_norm', which there is already",
    ),
    "names": (lambda self, loss, g: (updated(self, g), (loss, loss))[1], "expected (loss, {name: scalar array}), got"),
    "log": (lambda self, loss, g: self.log({}), "a CustomTrainer has no attribute 'log'; write on_log with @hookimpl"),
    "set": (lambda self, loss, g: setattr(self, "count", 1), "self.count is set within a training step; a step"),
    "delete": (lambda self, loss, g: delattr(self, "config"), "self.config is set within a training step"),
    "rate": (
        lambda self, loss, g: setattr(self.optimizer, "learning_rate", 0.0),
        "optimizer.learning_rate cannot be set here, where nothing would read it; settings stand in section optimizer",
    ),
    "decay": (lambda self, loss, g: setattr(self.optimizer, "weight_decay", 0.9), "optimizer.weight_decay cannot be"),
    "raises": (lambda self, loss, g: 1 / 0, "its step raised ZeroDivisionError: division by zero"),
    "exits": (lambda self, loss, g: exit(3), "its step raised SystemExit: 3"),
    "history": (
        lambda self, loss, g: self.state.history,
        "state.history: expected step, epoch, learning_rate, total_steps or",
    ),
}


@pytest.mark.parametrize(("more", "words"), STEPS.values(), ids=STEPS.keys())
def test_a_step_that_does_something_else(more: Callable[[Any, Any, Any], Any], words: str, tmp_path: Path) -> None:
    said = failing(tmp_path, "training_step", with_loss(more))
    assert said.startswith("CustomTrainer")
    assert words in said
    assert "\n" not in said


def test_methods_that_give_something_else(tmp_path: Path) -> None:
    assert failing(tmp_path, "process_gradients", lambda self, gradients: None) == (
        "CustomTrainer.process_gradients: expected it to return the gradients as a tree of arrays, got None"
    )
    said = failing(tmp_path, "compute_loss_and_gradients", lambda self, batch: batch["weights"].sum())
    assert said == "CustomTrainer.compute_loss_and_gradients: expected it to return (loss, gradients), got an array []"


@pytest.mark.parametrize("name", ["seen", "table"])
def test_what_a_step_would_keep_in_the_users_lists(name: str, tmp_path: Path) -> None:
    class Keeps(BaseTrainer):
        def __init__(self, *arguments: Any, **keywords: Any) -> None:
            super().__init__(*arguments, **keywords)
            self.seen: list[Any] = []
            self.table: dict[str, Any] = {}

        def process_gradients(self, gradients: Any) -> Any:
            if name == "seen":
                self.seen.append(gradients)
            else:
                self.table["last"] = gradients
            return gradients

    with pytest.raises(PluginFailure, match="is read-only here; change a copy"):
        net_trainer(Keeps, tmp_path).train([BATCH])


def test_a_failing_step_leaves_the_weights_as_they_were(tmp_path: Path) -> None:
    trainer = net_trainer(CustomTrainer, tmp_path / "run")
    trainer.train([BATCH])
    before = np.array(trainer.model.layer.weight)
    trainer.process_gradients = lambda gradients: None
    with pytest.raises(PluginFailure, match="process_gradients: expected it to return the gradients as a tree"):
        trainer.train([BATCH])
    np.testing.assert_array_equal(np.array(trainer.model.layer.weight), before)
    del trainer.process_gradients
    assert trainer.train([BATCH]).status == "ok"


# With others ----------------------------------------------------------------------------------------------------------


def test_what_it_does_not_go_with_is_a_problem_of_the_plan() -> None:
    class Wraps:
        @hookimpl
        def wrap_loss(self) -> None: ...

        @hookimpl
        def wrap_gradient(self) -> None: ...

    class Steps:
        @hookimpl
        def training_step(self) -> None: ...

    with pytest.raises(ConfigError) as caught:
        tiny_fit(Wraps, beside=[Steps], trainer_class=CustomTrainer, training={"gradient_accumulation_steps": 2})
    said = str(caught.value).splitlines()
    assert len(said) == 4
    assert said[0].startswith("training.gradient_accumulation_steps: expected 1, because steps, ")
    assert re.search(
        r"steps, \S+ makes the training step \(training_step\), and CustomTrainer \(the trainer's class\) would ",
        said[1],
    )
    assert re.search(
        r"^plugins.wraps: steps, .* changes the loss of the engine's own step \(wrap_loss\), which would never", said[2]
    )
    assert re.search(
        r"^plugins.wraps: steps, .* changes the gradient of the engine's own step \(wrap_gradient\)", said[3]
    )
    with pytest.raises(
        ConfigError, match=r"expected 1, because CustomTrainer \(the trainer's class\) makes the training step"
    ):
        tiny_fit(trainer_class=CustomTrainer, training={"gradient_accumulation_steps": 2})


def test_a_plugin_of_the_same_name() -> None:
    class Other:
        @hookimpl
        def on_step_end(self) -> None: ...

    Other.__name__ = "CustomTrainer"
    with pytest.raises(PluginError, match="two plugins are called 'custom_trainer'"):
        create_trainer(trainer_class=CustomTrainer, plugins=[Other()]).train()


def test_classes_that_are_no_trainers() -> None:
    for other in (3, dict, CustomTrainer.__name__):
        with pytest.raises(BadInput, match=r"trainer_class: expected a subclass of stepbus\.BaseTrainer, got "):
            create_trainer(trainer_class=other)  # type: ignore[arg-type]


def test_the_trained_model_opens_without_the_class(tmp_path: Path) -> None:
    done = tiny_fit(trainer_class=CustomTrainer, num_epochs=1, directory=tmp_path)
    opened = open_trainer(done.result.model_path)
    rows = {"id": ["a"], "text": ["good film"]}
    np.testing.assert_array_equal(opened.predict(rows), done.trainer.predict(rows))
    kept = (
        json.loads((done.result.directory / "run.json").read_text())
        if (done.result.directory / "run.json").exists()
        else {}
    )
    assert "custom_trainer" in json.dumps(kept)
