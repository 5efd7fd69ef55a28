"""A loss that a configuration picks: in training, in eval_loss, in folds, and in what is opened later."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.nn as nn
import numpy as np
import pandas as pd
import pytest

from stepbus import BadInput, ConfigError, create_model, create_trainer, mx, open_trainer
from stepbus.cli.main import main
from stepbus.storage import checkpoints
from stepbus.storage.digests import sealed
from stepbus.storage.durable import to_json

WEIGHTED = {"type": "cross_entropy", "class_weights": "balanced", "label_smoothing": 0.1}


def softmax(logits: Any) -> Any:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def reviews_of(path: Any, **columns: Any) -> pd.DataFrame:
    return pd.read_csv(path).assign(**columns)


def smoothed(logits: Any, labels: Any, weights: Any, smoothing: float) -> Any:
    """Return cross-entropy by hand, row by row."""
    shares = np.eye(logits.shape[1])[labels] * (1 - smoothing) + smoothing / logits.shape[1]
    return -(weights * shares * np.log(softmax(logits.astype(np.float64)))).sum(axis=1)


def test_eval_loss_is_the_loss_and_every_way_to_evaluate_gives_it(
    tiny_config: Any, review_files: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = create_trainer(config=tiny_config(loss=WEIGHTED))
    result = trainer.train()
    train, dev = (reviews_of(review_files[name]) for name in ("train", "dev"))
    counts = np.bincount(train.label)
    weights = len(train) / (2 * counts)
    logits = trainer.predict(dev, return_logits=True)
    expected = smoothed(logits, dev.label.to_numpy(), weights, 0.1).mean()
    assert result.metrics["eval_loss"] == pytest.approx(expected, rel=1e-5)
    assert trainer.evaluate(dev)["eval_loss"] == result.metrics["eval_loss"]
    opened = open_trainer(str(result.model_path))
    assert opened.evaluate(str(review_files["dev"]))["eval_loss"] == result.metrics["eval_loss"]
    saved = json.loads((Path(result.model_path) / "stepbus.json").read_text())
    assert saved["encoder"]["counts"] == {"by_class": counts.tolist(), "total": len(train)}
    assert saved["config"]["loss"] == WEIGHTED
    newest = checkpoints.latest_valid(Path(result.model_path).parent / "checkpoints", print)
    assert newest is not None
    assert open_trainer(str(newest.path)).evaluate(dev)["eval_loss"] == result.metrics["eval_loss"]
    capsys.readouterr()
    assert main(["evaluate", str(result.model_path), str(review_files["dev"]), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["eval_loss"] == result.metrics["eval_loss"]


def test_a_model_that_is_exported_otherwise_than_trained_is_scored_by_the_loss(
    tiny_config: Any, review_files: Any
) -> None:
    """LoRA is merged into what is exported, and that is evaluated once more."""
    config = tiny_config(loss=WEIGHTED)
    config["plugins"]["lora"] = {"rank": 2}
    result = create_trainer(config=config).train()
    train, dev = (reviews_of(review_files[name]) for name in ("train", "dev"))
    opened = open_trainer(str(result.model_path))
    logits = opened.predict(dev, return_logits=True)
    weights = len(train) / (2 * np.bincount(train.label))
    expected = smoothed(logits, dev.label.to_numpy(), weights, 0.1).mean()
    assert result.metrics["eval_loss"] == pytest.approx(expected, rel=1e-5)
    assert opened.evaluate(dev)["eval_loss"] == result.metrics["eval_loss"]


def test_a_folder_of_before_has_the_loss_of_its_head(tiny_config: Any, review_files: Any) -> None:
    result = create_trainer(config=tiny_config()).train()
    place = Path(result.model_path) / "stepbus.json"
    saved = json.loads(place.read_text())
    assert saved["config"].pop("loss") == {"type": "auto"}
    del saved["encoder"]["counts"], saved["config"]["plugins"]["losses"]
    del saved["digest"]
    place.write_text(to_json(sealed(saved)))
    opened = open_trainer(str(result.model_path))
    assert opened.evaluate(str(review_files["dev"]))["eval_loss"] == result.metrics["eval_loss"]


def test_each_fold_balances_by_its_own_training_rows(tiny_config: Any, review_files: Any) -> None:
    config = tiny_config(loss={"type": "cross_entropy", "class_weights": "balanced"}, data={"validation": None})
    config["plugins"]["cross_validation"] = {"folds": 3, "strategy": "kfold"}
    trainer = create_trainer(config=config)
    result, rows, told = trainer.train(), reviews_of(review_files["train"]), set()
    for fit, part in zip(trainer.fits, result.parts, strict=True):
        held_out = rows.loc[part.predictions["validation"].row_ids.astype(int)]
        own = rows.drop(index=held_out.index)
        counts = np.bincount(own.label)
        told.add(tuple(counts.tolist()))
        saved = json.loads((Path(part.model_path) / "stepbus.json").read_text())
        assert saved["encoder"]["counts"]["by_class"] == counts.tolist()
        logits = fit.predict(held_out, return_logits=True)
        expected = smoothed(logits, held_out.label.to_numpy(), len(own) / (2 * counts), 0.0).mean()
        assert part.metrics["eval_loss"] == pytest.approx(expected, rel=1e-5)
        assert fit.evaluate(held_out)["eval_loss"] == part.metrics["eval_loss"]
    assert len(told) > 1  # else the test shows nothing


def test_two_small_batches_make_the_update_of_one_big_one(tiny_config: Any) -> None:
    """Row weights and class weights together: what a batch is divided by is the weights of its rows alone."""
    rows = reviews_of(tiny_config()["data"]["train"], weight=lambda frame: 1 + frame.index % 3)
    found = []
    for size, steps in ((8, 1), (4, 2)):
        config = tiny_config(
            model={"dropout": 0.0},
            loss={"type": "focal", "class_weights": [1.0, 5.0]},
            data={"batch_size": size, "weight": "weight", "validation": None},
            training={"gradient_accumulation_steps": steps, "num_epochs": 1, "eval_strategy": "no"},
        )
        config["model"] |= {"hidden_dropout": 0.0, "attention_dropout": 0.0}
        trainer = create_trainer(config=config)
        trainer.train(rows[:8])
        found.append({name: np.array(array) for name, array in trainer.model.tensors().items()})
    for name, array in found[0].items():
        np.testing.assert_allclose(array, found[1][name], rtol=2e-3, atol=2e-4, err_msg=name)


def ratings(path: Any) -> pd.DataFrame:
    """Return rows whose classes are words that lie in no order by themselves."""
    return reviews_of(path).assign(
        label=lambda frame: np.where(frame.label == 0, "bad", np.where(frame.index % 2, "ok", "good"))
    )


def test_ordered_classes_come_back_in_their_order(tiny_config: Any, review_files: Any) -> None:
    train, dev = (ratings(review_files[name]) for name in ("train", "dev"))
    head = {"type": "ordinal", "order": ["bad", "ok", "good"]}
    trainer = create_trainer(config=tiny_config(model={"head": head}, loss="ordinal", data={"validation": None}))
    result = trainer.train(train, dev)
    probabilities = trainer.predict(dev)
    assert trainer.codec.names == ["bad", "good", "ok"]
    ranked, ranks = probabilities[:, [0, 2, 1]], dev.label.map({"bad": 0, "ok": 1, "good": 2}).to_numpy()
    above = np.stack([ranked[:, 1:].sum(axis=1), ranked[:, 2]], axis=1)
    true = ranks[:, None] > np.arange(2)
    expected = -np.where(true, np.log(above), np.log(1 - above)).mean()
    assert result.metrics["eval_loss"] == pytest.approx(expected, rel=1e-4)
    opened = open_trainer(str(result.model_path))
    np.testing.assert_array_equal(opened.predict(dev), probabilities)
    assert opened.evaluate(dev) == trainer.evaluate(dev)


def test_an_ordinal_head_of_python_is_told_its_classes(tiny_config: Any, review_files: Any) -> None:
    section = {name: value for name, value in tiny_config()["model"].items() if name != "type"}
    train = ratings(review_files["train"])
    for head, said in ((["bad", "ok", "good"], None), (None, "model.head.order: expected the classes from the lowest")):
        model = create_model("bert", "multiclass", 3, head={"type": "ordinal", "order": head}, **section)
        config = tiny_config(data={"validation": None}, training={"max_steps": 1})
        trainer = create_trainer(model, {name: config[name] for name in config if name != "model"})
        if said is None:
            trainer.train(train)
            assert trainer.model.head.ranks == (0, 2, 1)
        else:
            with pytest.raises(BadInput, match=said):
                trainer.train(train)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        (
            {"type": "quantile"},
            "loss.type: expected a loss for binary labels, got quantile, which is for regression; take auto, "
            "cross_entropy, focal or ordinal",
        ),
        (
            {"type": "focal", "class_weights": {"0": 1.0, "2": 1.0}},
            "loss.class_weights: expected the name of a class (0 and 1), got '2'",
        ),
    ],
)
def test_a_loss_that_does_not_fit_the_labels_is_refused_where_it_stands(
    tiny_config: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], section: Any, said: str
) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(json.dumps(tiny_config()).removesuffix("}") + f',\n"loss": {json.dumps(section)}' + "}\n")
    for command in ("train", "plan"):
        assert main([command, str(file)]) == 2
        captured = capsys.readouterr()
        assert f"run.yaml:2: {said}" in captured.err + captured.out
    assert not list((tmp_path / "run").rglob("*.safetensors"))


def test_losses_in_python_by_name(tiny_config: Any) -> None:
    trainer = create_trainer(config=tiny_config(), loss="focal", num_epochs=1)
    assert (trainer.config.loss.name, trainer.loss) == ("focal", None)
    assert create_trainer(config=tiny_config(), loss={"type": "focal", "gamma": 1.0}).config.loss.settings.gamma == 1.0
    trainer.update_config(loss="cross_entropy", label_smoothing=0.2)
    assert trainer.config.loss.settings.label_smoothing == 0.2
    with pytest.raises(BadInput, match=r"^loss: expected the name of a loss or its settings, because the model"):
        create_trainer(config=tiny_config(), loss=nn.losses.cross_entropy)


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def __call__(self, x: mx.array) -> mx.array:
        return self.layer(x)


def test_a_module_has_its_loss_beside_it(tmp_path: Path) -> None:
    batches = [{"x": np.ones((2, 2), np.float32), "labels": np.array([0, 1])}]
    with pytest.raises(BadInput, match=r"^loss: expected a function of outputs and labels, because the model is a mod"):
        create_trainer(Linear(), loss="focal")
    config = {"loss": "focal", "environment": {"output_dir": str(tmp_path)}}
    with pytest.raises(ConfigError, match=r"loss.type: expected auto, because the model is a module of yours, got foc"):
        create_trainer(Linear(), config, loss=nn.losses.cross_entropy).train(batches)


def test_a_classifier_on_batches_has_the_loss_that_was_picked(tiny_config: Any, tmp_path: Path) -> None:
    section = {name: value for name, value in tiny_config()["model"].items() if name != "type"}
    model = create_model("bert", "binary", **section)
    batches = [
        {"input_ids": np.array([[2, 5, 3], [2, 9, 3]]), "attention_mask": np.ones((2, 3), np.int32), "labels": [0, 1]}
    ]
    batches = [{name: np.array(values) for name, values in each.items()} for each in batches]
    config = {"environment": {"output_dir": str(tmp_path)}, "training": {"num_epochs": 1}}
    trainer = create_trainer(model, config, loss={"type": "cross_entropy", "class_weights": [1.0, 3.0]})
    result = trainer.train(batches, batches)
    expected = smoothed(
        trainer.predict(batches, return_logits=True), np.array([0, 1]), np.array([1.0, 3.0]), 0.0
    ).mean()
    assert result.metrics["eval_loss"] == pytest.approx(expected, rel=1e-5)
    with pytest.raises(BadInput, match=r"loss.class_weights: expected numbers, because nothing says how often each"):
        create_trainer(model, config, loss={"type": "cross_entropy", "class_weights": "balanced"}).train(batches)


def test_a_run_goes_on_with_its_loss_and_refuses_another(tiny_config: Any) -> None:
    whole = create_trainer(config=tiny_config(loss=WEIGHTED)).train()
    with pytest.raises(BadInput, match=r"loss.label_smoothing was 0.1, is 0.2"):
        create_trainer(config=tiny_config(loss={**WEIGHTED, "label_smoothing": 0.2})).train(resume=True)
    assert create_trainer(config=tiny_config(loss=WEIGHTED)).train(resume=True).metrics == whole.metrics
