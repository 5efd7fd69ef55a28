"""The walk: models and trainers from Python, in the original's words (lines 10 to 14, 103 to 118, 158 to 166)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import stepbus
from stepbus import BaseTrainer, Callback, create_model, create_trainer, get_trainer_config

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def weights(trainer: Any) -> dict[str, np.ndarray]:
    return {name: np.array(array) for name, array in trainer.model.tensors().items()}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


# Quick start ---------------------------------------------------------------------------------------------------------


def test_line_010_create_model(minilm: str) -> None:
    model = create_model("bert_with_head", head_type="binary_classification")
    assert (model.task, model.outputs) == ("binary", 2)
    named = create_model("bert_with_head", head_type="binary_classification", pretrained=minilm)
    ours, theirs = model.tensors(), named.tensors()
    assert sum(array.size for array in ours.values()) > 20_000_000  # weights that somebody trained, and no toy
    assert {name for name in ours if np.array_equal(np.array(ours[name]), np.array(theirs[name]))} >= {
        name for name in ours if name.startswith("bert.encoder")
    }


@pytest.mark.parametrize(
    ("head_type", "more", "task", "outputs"),
    [
        ("multiclass_classification", {"num_labels": 3}, "multiclass", 3),
        ("multilabel_classification", {"num_labels": 4}, "multilabel", 4),
        ("regression", {}, "regression", 1),
    ],
)
def test_line_011_other_heads(head_type: str, more: dict[str, Any], task: str, outputs: int, world: Any) -> None:
    model = world.model(head_type, **more)
    assert (model.task, model.outputs) == (task, outputs)


def test_line_012_create_trainer(world: Any) -> None:
    model = world.model()
    trainer = create_trainer(model, config="production")
    settings = trainer.config
    assert trainer.model is model
    assert (settings.optimizer.settings.learning_rate, settings.training.num_epochs) == (2e-5, 10)
    assert (settings.scheduler.name, settings.scheduler.settings.warmup_ratio) == ("cosine", 0.1)


def test_line_013_train(world: Any) -> None:
    trainer = create_trainer(world.model(), config="production", label="label", progress=False)
    train_loader, val_loader = world.frame("train"), world.frame("dev")
    result = trainer.train(train_loader, val_loader)
    assert (result.status, result.steps) == ("ok", 10)  # 32 rows are one batch of production
    scores = trainer.predict(val_loader)
    right = (scores.argmax(axis=1) == val_loader["label"]).mean()
    assert result.metrics["eval_accuracy"] == right


def written(frame: Any) -> str:
    file = Path(f"{len(frame)}.csv").absolute()
    frame.to_csv(file, index=False)
    return str(file)


def rows_as(kind: str, frame: Any) -> Any:
    import pyarrow as pa

    makers = {
        "dictionaries": lambda: frame.to_dict("records"),
        "columns": lambda: frame.to_dict("list"),
        "arrow": lambda: pa.Table.from_pandas(frame),
        "file": lambda: written(frame),
    }
    return makers[kind]()


@pytest.mark.parametrize("kind", ["dictionaries", "columns", "arrow", "file"])
def test_line_014_rows_of_every_kind(kind: str, world: Any) -> None:
    found = []
    for given in (world.frame("train"), rows_as(kind, world.frame("train"))):
        trainer = create_trainer(world.model(), label="label", max_steps=1, progress=False, gradient_clipping=False)
        result = trainer.train(given, rows_as(kind, world.frame("dev")))
        found.append((result.metrics, weights(trainer)))
    assert found[0][0] == found[1][0]
    assert same(found[0][1], found[1][1])


def test_line_014_a_loader() -> None:
    import mlx.nn as nn

    rows = np.random.default_rng(1).normal(size=(16, 3)).astype(np.float32)
    train_loader = [{"x": rows[start : start + 4], "labels": np.arange(4) % 2} for start in range(0, 16, 4)]

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def __call__(self, x: Any) -> Any:
            return self.layer(x)

    trainer = create_trainer(Net(), loss=nn.losses.cross_entropy, num_epochs=2, progress=False)
    result = trainer.train(train_loader, train_loader[:2])
    assert result.steps == 8
    assert trainer.predict([{"x": rows}]).shape == (16, 2)


# Advanced usage ------------------------------------------------------------------------------------------------------


def test_line_103_custom_callback(world: Any, capsys: pytest.CaptureFixture[str]) -> None:
    class CustomCallback(Callback):
        def on_epoch_end(self, trainer: Any, state: Any) -> None:
            print(f"Epoch {state.epoch} completed!")

    create_trainer(config=world.tree(Path.cwd()), plugins=[CustomCallback()]).train()
    assert capsys.readouterr().out == "Epoch 0 completed!\nEpoch 1 completed!\n"


def test_line_104_callbacks(world: Any, capsys: pytest.CaptureFixture[str]) -> None:
    class CustomCallback(Callback):
        def on_epoch_end(self, trainer: Any, state: Any) -> None:
            print(f"Epoch {state.epoch} completed!")

    model = world.model()
    trainer = create_trainer(model, callbacks=[CustomCallback()], label="label", num_epochs=1, progress=False)
    trainer.train(world.frame("train"))
    assert capsys.readouterr().out == "Epoch 0 completed!\n"


def test_line_105_overrides(world: Any) -> None:
    trainer = create_trainer(
        world.model(),
        config="production",
        # Override specific settings
        learning_rate=1e-5,
        num_epochs=20,
        batch_size=64,
    )
    settings = trainer.config
    assert settings.optimizer.settings.learning_rate == 1e-5
    assert (settings.training.num_epochs, settings.data.settings.batch_size) == (20, 64)
    assert settings.scheduler.name == "cosine"  # the rest is production's


# Methods of the trainer ----------------------------------------------------------------------------------------------


@pytest.fixture
def fresh(world: Any) -> Any:
    """A trainer of a model from scratch, not trained yet."""
    return create_trainer(world.model(), config=world.tree(Path.cwd()))


def test_line_107_train_with_epochs_and_again(fresh: Any, world: Any) -> None:
    train_dataloader, val_dataloader = world.frame("train"), world.frame("dev")
    before = weights(fresh)
    assert fresh.train(train_dataloader, val_dataloader, num_epochs=1).steps == 8
    after = weights(fresh)
    assert not same(before, after)
    again = fresh.train(train_dataloader, val_dataloader, num_epochs=1)
    assert (again.status, again.steps) == ("ok", 8)
    assert not same(after, weights(fresh))  # it trained on


def test_line_107_epochs_as_the_third_argument(fresh: Any, world: Any) -> None:
    assert fresh.train(world.frame("train"), world.frame("dev"), 1).steps == 8


def test_line_108_the_result(done: Any) -> None:
    assert {"eval_loss", "eval_accuracy"} <= done.result.metrics.keys()
    opened = stepbus.open_trainer(done.result.model_path)
    assert same(weights(opened), weights(done.trainer))


def test_line_109_evaluate(done: Any, world: Any) -> None:
    dataloader = world.frame("dev")
    found = done.trainer.evaluate(dataloader)
    assert found == {name: value for name, value in done.result.metrics.items() if name.startswith("eval_")}
    named = done.trainer.evaluate(dataloader, prefix="held_out")
    assert named == {name.replace("eval_", "held_out_"): value for name, value in found.items()}


def test_line_110_predict(done: Any, world: Any) -> None:
    dataloader = world.frame("dev")
    probabilities = done.trainer.predict(dataloader)
    logits = done.trainer.predict(dataloader, return_logits=True)
    assert probabilities.shape == logits.shape == (16, 2)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(powers / powers.sum(axis=1, keepdims=True), probabilities, atol=1e-6)


def test_line_110_predict_texts(done: Any, world: Any) -> None:
    texts = world.frame("dev")["text"].tolist()
    np.testing.assert_array_equal(done.trainer.predict(texts), done.trainer.predict(world.frame("dev")))


def test_line_111_save_checkpoint(fresh: Any) -> None:
    fresh.train(num_epochs=1)
    made = fresh.save_checkpoint()  # where its run lies
    assert made.is_relative_to(fresh.result.directory)
    assert (made / "model.safetensors").is_file()
    path = Path("mine").absolute()
    fresh.save_checkpoint(path=path, save_optimizer=False)
    assert list(path.rglob("model.safetensors"))
    assert not list(path.rglob("optimizer.safetensors"))
    fresh.save_checkpoint(path=path)
    assert list(path.rglob("optimizer.safetensors"))


def test_line_112_load_checkpoint(fresh: Any, world: Any) -> None:
    fresh.train(num_epochs=1)
    path = "mine"
    fresh.save_checkpoint(path)
    kept = weights(fresh)
    other = create_trainer(world.model(seed=7), config=world.tree(Path.cwd()))
    assert not same(kept, weights(other))
    other.load_checkpoint(path)  # the very path that save was given, into a model that was not trained
    assert same(kept, weights(other))
    fresh.train(num_epochs=1)
    fresh.load_checkpoint(path, load_optimizer=False)
    assert same(kept, weights(fresh))
    assert fresh.train(num_epochs=1).steps == 8
    assert not same(kept, weights(fresh))


def test_line_113_update_config(fresh: Any) -> None:
    fresh.train(num_epochs=1)
    before = weights(fresh)
    fresh.update_config(learning_rate=1e-6, num_epochs=2)
    assert fresh.config.optimizer.settings.learning_rate == 1e-6
    assert fresh.train().steps == 16
    moved = max(np.abs(array - before[name]).max() for name, array in weights(fresh).items())
    assert 0 < moved < 5e-5  # 16 updates of at most 1e-6 each, by Adam's bound


def test_line_114_115_116_config_by_name_path_and_object(world: Any) -> None:
    path = ROOT / "configs" / "production.yaml"
    loaded = get_trainer_config("production")
    trees = [create_trainer(config=given).config.tree for given in ("production", path, str(path), loaded)]
    assert trees[0]["training"]["num_epochs"] == 10
    assert all(tree == trees[0] for tree in trees)


def test_line_116_a_section_object(world: Any) -> None:
    from stepbus import TrainingConfig

    trainer = create_trainer(world.model(), config="production", training=TrainingConfig(num_epochs=3))
    assert trainer.config.training.num_epochs == 3  # although 3 is the default of the class
    assert trainer.config.optimizer.settings.learning_rate == 2e-5


def test_line_117_get_trainer_config(world: Any) -> None:
    Path("mine.yaml").write_text("extends: production\ntraining: {num_epochs: 4}\n")
    by_name, by_path = get_trainer_config("production"), get_trainer_config("mine.yaml")
    assert (by_name.training.num_epochs, by_path.training.num_epochs) == (10, 4)
    assert by_path.optimizer.settings.learning_rate == 2e-5


def test_line_118_base_trainer(world: Any) -> None:
    class Mine(BaseTrainer):
        """A trainer with a word of its own."""

        word = "mine"

    trainer = Mine(world.model(), config=world.tree(Path.cwd()))
    assert isinstance(trainer, stepbus.Trainer)
    assert trainer.train(num_epochs=1).steps == 8
    assert trainer.word == "mine"


# Migration and examples ----------------------------------------------------------------------------------------------


def test_line_158_there_is_no_old_trainer() -> None:
    with pytest.raises(ImportError, match="MLXTrainer"):
        from stepbus import MLXTrainer  # noqa: F401
    assert "MLXTrainer" in (ROOT / "README.md").read_text()  # which says so


class CustomTrainer(BaseTrainer):
    """As the original prints it."""

    def training_step(self, batch, state):  # type: ignore[no-untyped-def]
        # Custom training logic
        loss, grads = self.compute_loss_and_gradients(batch)

        # Custom gradient processing
        grads = self.process_gradients(grads)

        # Update
        self.optimizer.update(self.model, grads)
        return loss


def test_line_159_custom_training_loop(world: Any, done: Any) -> None:
    trainer = CustomTrainer(config=world.tree(Path.cwd()))
    result = trainer.train()
    assert result.metrics == done.result.metrics  # what it writes out is what a trainer does
    assert same(weights(trainer), weights(done.trainer))


def test_line_160_loss_gradients_and_update(world: Any) -> None:
    from mlx.utils import tree_map

    class Halved(CustomTrainer):
        def process_gradients(self, gradients: Any) -> Any:
            return tree_map(lambda array: array * 0.5, gradients)

    sgd = {"type": "sgd", "learning_rate": 0.1, "momentum": 0.0, "weight_decay": 0.0}
    more = {"optimizer": sgd, "scheduler": {"type": "constant"}, "plugins": {"gradient_clipping": False}}
    more["plugins"]["progress"] = False
    moved = []
    for kind in (CustomTrainer, Halved):
        trainer = kind(world.model(), config=world.tree(Path.cwd(), **more, training={"max_steps": 1}))
        before = weights(trainer)
        trainer.train()
        moved.append({name: array - before[name] for name, array in weights(trainer).items()})
    assert any(np.abs(array).max() > 1e-4 for array in moved[0].values())
    for name, array in moved[0].items():
        np.testing.assert_allclose(moved[1][name], array / 2, atol=1e-6)


def test_line_102_164_three_stages(world: Any) -> None:
    large_dataset_loader, competition_loader = world.frame("dev"), world.frame("train")
    own = {"label": "label", "batch_size": 4, "validation": 0.25, "progress": False}
    # Stage 1: Pre-train on large dataset
    trainer = create_trainer(world.model(), config="pretrain", **own)
    first = trainer.train(large_dataset_loader)

    # Stage 2: Fine-tune on competition data
    trainer.update_config(learning_rate=1e-6, num_epochs=5)
    second = trainer.train(competition_loader)

    # Stage 3: Final optimization
    trainer.update_config(learning_rate=1e-7, early_stopping_patience=10)
    final_result = trainer.train(competition_loader)
    assert [each.steps for each in (first, second, final_result)] == [3, 30, 30]  # each stage does all of its own
    assert len({each.directory for each in (first, second, final_result)}) == 3


def test_line_166_dynamic_rate(world: Any) -> None:
    rates = []

    class DynamicLRCallback(Callback):
        threshold = 0.0

        def on_epoch_end(self, trainer: Any, state: Any) -> None:
            # Adjust learning rate based on metrics
            if state.metrics["val_loss"] > self.threshold:
                trainer.optimizer.learning_rate *= 0.5

        def on_step_end(self, state: Any) -> None:
            rates.append(state.learning_rate)

    tree = world.tree(Path.cwd(), scheduler={"type": "constant"})
    create_trainer(config=tree, callbacks=[DynamicLRCallback()]).train()
    assert rates == [3e-3] * 8 + [1.5e-3] * 8
