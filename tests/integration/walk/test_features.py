"""The walk: features, protocols, the base trainer, state and checkpoints (lines 1 to 9, 18 to 43)."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

import stepbus
from stepbus import ConfigError, create_trainer, hookimpl, load_config, open_trainer


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Net(nn.Module):
    """The smallest model there is; its weights are the same each time."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.layer.weight, self.layer.bias = mx.array([[0.1, -0.2, 0.3], [0.0, 0.2, -0.1]]), mx.zeros(2)

    def __call__(self, x: Any) -> Any:
        return self.layer(x)


INPUTS = np.random.default_rng(3).normal(size=(16, 3)).astype(np.float32)
LABELS = np.array([0, 1, 1, 0] * 4)
SGD = {"type": "sgd", "learning_rate": 0.5, "momentum": 0.0, "weight_decay": 0.0}
PLAIN = {"optimizer": SGD, "scheduler": {"type": "constant"}, "plugins": {"progress": False}}


def batches(size: int) -> list[dict[str, Any]]:
    return [{"x": INPUTS[start : start + size], "labels": LABELS[start : start + size]} for start in range(0, 16, size)]


def trained_net(size: int, *plugins: Any, **sections: Any) -> Any:
    settings = {**PLAIN, **sections}
    settings["plugins"] = {**PLAIN["plugins"], **sections.get("plugins", {})}
    trainer = create_trainer(Net(), loss=nn.losses.cross_entropy, config=settings, plugins=plugins)
    trainer.train(batches(size))
    return trainer


def gradients_by_hand() -> dict[str, np.ndarray]:
    """Return the gradients of a fresh Net over all rows, by MLX alone."""
    model = Net()
    mean = lambda x, labels: nn.losses.cross_entropy(model(x), labels, reduction="mean")  # noqa: E731
    _, gradients = nn.value_and_grad(model, mean)(mx.array(INPUTS), mx.array(LABELS))
    return {name: np.array(array) for name, array in gradients["layer"].items()}


# Features ------------------------------------------------------------------------------------------------------------


def test_line_002_declarative_yaml(world: Any) -> None:
    Path("run.yaml").write_text("training:\n  num_epochs: 2\noptimizer: {type: lion}\n")
    config = load_config("run.yaml")
    assert (config.training.num_epochs, config.optimizer.name) == (2, "lion")
    Path("run.yaml").write_text("training:\n  num_epochs: two\noptimizer: {type: lino}\n")
    with pytest.raises(ConfigError) as found:  # validation: every problem at once, each where it stands
        load_config("run.yaml")
    first, second = str(found.value).split("\n")
    assert first.startswith("run.yaml:2: training.num_epochs: expected int")
    assert second.startswith("run.yaml:3: optimizer.type: expected") and "lion" in second


def test_line_003_declarative_json() -> None:
    Path("run.json").write_text(json.dumps({"optimizer": {"learning_rate": 2e-5}}))
    assert load_config("run.json").optimizer.settings.learning_rate == 2e-5


def test_line_004_mlx_and_lazy_evaluation(done: Any) -> None:
    assert all(isinstance(array, mx.array) for array in done.trainer.model.tensors().values())
    # One compiled step for each shape of batches, and not one for each of 16 updates.
    shapes = done.result.traces
    assert 1 <= shapes < done.result.steps


def test_line_005_callbacks_without_code_modification(world: Any, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.py").write_text(
        "from stepbus import Callback\n\n\nclass Says(Callback):\n"
        "    def on_epoch_end(self, state):\n        print('epoch', state.epoch)\n"
    )
    plugins = {"progress": False, "says": {"use": "./mine.py:Says"}}
    create_trainer(config=world.tree(Path.cwd(), plugins=plugins, training={"num_epochs": 1})).train()
    assert capsys.readouterr().out == "epoch 0\n"


class Kills:
    """Sends this process a SIGTERM after some updates."""

    affects_result = False

    @hookimpl
    def on_step_end(self, state: Any) -> None:
        if state.step == 5:
            os.kill(os.getpid(), signal.SIGTERM)


def test_line_008_checkpoints_with_resume(world: Any, done: Any) -> None:
    tree = world.tree(Path.cwd())
    trainer = create_trainer(config=tree, plugins=[Kills()])
    with pytest.raises(stepbus.StepbusError, match="checkpoint"):
        trainer.train()
    again = create_trainer(config=tree)
    result = again.train(resume=True)
    assert (result.status, result.steps, result.metrics) == ("ok", 16, done.result.metrics)
    for name, array in done.trainer.model.tensors().items():  # the same bits as a run that was not cut
        np.testing.assert_array_equal(np.array(again.model.tensors()[name]), np.array(array))


def test_line_009_accumulation_clipping_optimizers_and_schedules(train_once: Any) -> None:
    done = train_once(
        training={"gradient_accumulation_steps": 2},
        plugins={"progress": False, "gradient_clipping": {"max_norm": 0.01}},
        optimizer={"type": "lion", "learning_rate": 1e-4},
        scheduler={"type": "cosine", "warmup_steps": 2},
    )
    assert done.result.steps == 8  # 16 batches, two for each update
    assert done.recorder.records[-1]["gradient_norm"] > 0.01
    rates = [given["step"].learning_rate for given in done.recorder.of("on_step_end")]
    assert rates[:3] == pytest.approx([0, 5e-5, 1e-4]) and rates[-1] < 1e-5


# Protocols -----------------------------------------------------------------------------------------------------------

PROTOCOLS = ["Model", "DataLoader", "Optimizer", "LRScheduler", "Trainer", "TrainingHook"]


def protocol(name: str) -> Any:
    from stepbus.kernel import protocols

    return getattr(protocols, name)


@pytest.mark.parametrize("name", [pytest.param(name, id=f"line-1-{name}") for name in PROTOCOLS])
def test_line_001_protocols(name: str) -> None:
    assert getattr(protocol(name), "_is_protocol", False)
    assert isinstance(isinstance(object(), protocol(name)), bool)  # it can be asked at run time
    assert not isinstance(object(), protocol(name))


def test_line_018_the_module_of_protocols() -> None:
    from stepbus.kernel import protocols

    assert set(PROTOCOLS) <= vars(protocols).keys()
    assert protocols is stepbus.protocols


def test_line_019_model(done: Any, world: Any) -> None:
    assert isinstance(done.trainer.model, protocol("Model"))
    assert isinstance(world.model(), protocol("Model"))


def test_line_020_data_loader() -> None:
    class Loader:
        """A stranger's: batches by iteration, and their number."""

        def __iter__(self) -> Any:
            return iter(batches(4))

        def __len__(self) -> int:
            return 4

    assert isinstance(Loader(), protocol("DataLoader"))
    trainer = create_trainer(Net(), loss=nn.losses.cross_entropy, config=PLAIN, num_epochs=2)
    assert trainer.train(Loader()).steps == 8


def test_line_021_optimizer(world: Any) -> None:
    optimizer = load_config(None).optimizer.build()
    assert isinstance(optimizer, stepbus.Optimizer)
    assert isinstance(optimizer, protocol("Optimizer"))


def test_line_022_lr_scheduler() -> None:
    scheduler = load_config(None).scheduler.build()
    assert isinstance(scheduler, stepbus.Scheduler)
    assert isinstance(scheduler, protocol("LRScheduler"))
    assert scheduler.rate(5, 10, 1.0) == 0.5


def test_line_023_trainer(done: Any) -> None:
    assert isinstance(done.trainer, protocol("Trainer"))


def test_line_024_training_hook(world: Any) -> None:
    told = []

    class Hook(stepbus.Callback):
        def on_epoch_end(self, trainer: Any, state: Any) -> None:
            told.append((trainer.fit_name, state.epoch))

    assert isinstance(Hook(), protocol("TrainingHook"))
    assert not isinstance(object(), protocol("TrainingHook"))
    create_trainer(config=world.tree(Path.cwd()), callbacks=[Hook()], num_epochs=1).train()
    assert told == [("fit", 0)]


# Base trainer --------------------------------------------------------------------------------------------------------


def test_line_025_value_and_grad() -> None:
    trainer = trained_net(16, training={"num_epochs": 1}, plugins={"gradient_clipping": False})
    for name, gradient in gradients_by_hand().items():
        moved = np.array(trainer.model["layer"][name]) - np.array(Net()["layer"][name])
        np.testing.assert_allclose(moved, -0.5 * gradient, atol=1e-6)


def test_line_026_mixed_precision(train_once: Any, done: Any) -> None:
    half = train_once(training={"precision": "bfloat16"})
    losses = [[given["step"].loss for given in each.recorder.of("on_step_end")] for each in (done, half)]
    assert losses[0] != losses[1]
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.02)
    assert {array.dtype for array in half.trainer.model.tensors().values()} == {mx.float32}


def test_line_026_automatic_precision(world: Any) -> None:
    trainer = create_trainer(config=world.tree(Path.cwd(), training={"precision": "auto", "max_steps": 2}))
    assert trainer.train().status == "ok"


@pytest.mark.parametrize("number", [pytest.param(number, id=f"line-{number}") for number in (27, 40)])
def test_gradient_accumulation(number: int) -> None:
    """Two batches of 4 make the update that one of 8 makes."""
    whole = trained_net(8, training={"num_epochs": 2})
    halves = trained_net(4, training={"num_epochs": 2, "gradient_accumulation_steps": 2})
    assert whole.result.steps == halves.result.steps == 4
    for name, array in whole.model["layer"].items():
        np.testing.assert_allclose(np.array(halves.model["layer"][name]), np.array(array), atol=1e-6)


@pytest.mark.parametrize("number", [pytest.param(number, id=f"line-{number}") for number in (28, 41)])
def test_gradient_clipping_by_the_global_norm(number: int) -> None:
    trainer = trained_net(16, training={"num_epochs": 1}, plugins={"gradient_clipping": {"max_norm": 0.01}})
    moved = [np.array(array) - np.array(Net()["layer"][name]) for name, array in trainer.model["layer"].items()]
    norm = float(np.sqrt(sum((array**2).sum() for array in moved)))
    assert norm == pytest.approx(0.5 * 0.01, rel=1e-3)  # the rate times max_norm
    by_hand = np.sqrt(sum((array**2).sum() for array in gradients_by_hand().values()))
    assert by_hand > 0.01


def test_line_029_metric_tracking(done: Any) -> None:
    states = [given["state"] for given in done.recorder.of("on_epoch_end")]
    assert [state.metrics["eval_loss"] for state in states] == [each["eval_loss"] for each in done.result.history]
    assert len(states[-1].history) == 2
    assert states[-1].metrics == done.result.metrics


def test_line_030_hook_integration(done: Any) -> None:
    told = [name for name in done.recorder.names if name in ("on_fit_start", "on_epoch_end", "on_fit_end")]
    assert told == ["on_fit_start", "on_epoch_end", "on_epoch_end", "on_fit_end"]
    assert done.recorder.names.count("on_step_end") == 16


# State management ----------------------------------------------------------------------------------------------------


def test_line_036_training_state(done: Any) -> None:
    states = [given["state"] for given in done.recorder.of("on_step_end")]
    assert [(state.epoch, state.step) for state in states] == [(step // 8, step + 1) for step in range(16)]
    assert states[-1].samples_seen == 64
    final = done.recorder.of("on_epoch_end")[-1]["state"]
    assert final.metrics["eval_loss"] == final.history[-1]["eval_loss"]


def test_line_037_persistence_and_recovery(world: Any, done: Any) -> None:
    """What TrainingStateManager did: the state lies in the checkpoint and comes back."""
    tree = world.tree(Path.cwd())
    with pytest.raises(stepbus.StepbusError):
        create_trainer(config=tree, plugins=[Kills()]).train()
    (checkpoint,) = {path.resolve().parent for path in Path("runs").rglob("step-00000005/state.json")}
    saved = json.loads((checkpoint / "state.json").read_text())
    assert '"step": 5' in json.dumps(saved)
    seen: list[int] = []

    class Sees:
        affects_result = False

        @hookimpl
        def on_step_end(self, state: Any) -> None:
            seen.append(state.step)

    create_trainer(config=tree, plugins=[Sees()]).train(resume=True)
    assert seen == list(range(6, 17))


def test_line_038_checkpoints_with_safetensors(world: Any) -> None:
    from safetensors.numpy import load_file

    trainer = create_trainer(config=world.tree(Path.cwd()))
    trainer.train(num_epochs=1)
    folder = trainer.save_checkpoint("mine")
    held = load_file(folder / "model.safetensors")
    ours = {name: np.array(array) for name, array in trainer.model.tensors().items()}
    assert held.keys() == ours.keys() and all(np.array_equal(held[name], ours[name]) for name in held)
    assert any(
        array.shape == ours[next(iter(ours))].shape for array in load_file(folder / "optimizer.safetensors").values()
    )
    assert not [path for path in folder.rglob("*") if path.suffix in (".pkl", ".pt", ".bin")]
    np.testing.assert_array_equal(open_trainer(folder).predict(world.frame("dev")), trainer.predict(world.frame("dev")))


def test_line_039_schedules_with_warm_up() -> None:
    for kind in ("linear", "cosine", "constant", "polynomial"):
        for warmup in ({"warmup_steps": 4}, {"warmup_ratio": 0.4}):
            scheduler = load_config({"scheduler": {"type": kind, **warmup}}).scheduler.build()
            rates = [scheduler.rate(step, 10, 1.0) for step in range(10)]
            assert rates[:5] == pytest.approx([0, 0.25, 0.5, 0.75, 1.0]), kind


@pytest.mark.parametrize(
    ("number", "data"),
    [
        pytest.param(42, {"num_workers": 0}, id="line-42-none"),
        pytest.param(42, {"num_workers": 8}, id="line-42-eight"),
        pytest.param(43, {"prefetch_size": 1}, id="line-43"),
    ],
)
def test_workers_and_prefetching_change_no_number(
    number: int, data: dict[str, Any], train_once: Any, done: Any
) -> None:
    ahead = train_once(data=data)
    assert ahead.result.metrics == done.result.metrics
    for name, array in done.trainer.model.tensors().items():
        np.testing.assert_array_equal(np.array(ahead.trainer.model.tensors()[name]), np.array(array))


def test_line_042_as_many_workers_as_were_asked_for(world: Any) -> None:
    import threading

    seen: set[str] = set()

    class Sees:
        affects_result = False

        @hookimpl
        def on_step_end(self) -> None:
            seen.update(thread.name for thread in threading.enumerate() if thread.name.startswith("stepbus-prefetch"))

    for workers in (0, 3):
        seen.clear()
        tree = world.tree(Path.cwd(), data={"num_workers": workers, "prefetch_size": 8})
        create_trainer(config=tree, plugins=[Sees()]).train(num_epochs=1)
        assert len(seen) == workers
