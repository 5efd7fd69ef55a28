"""LoRA against PEFT's own numbers, and by hand: what is trained, what is merged, what an adapter's folder holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_unflatten
from safetensors.numpy import load_file

from stepbus import ConfigError, Selected, create_model, create_trainer, hookimpl, open_trainer
from stepbus_plugins.bert import Bert, BertConfig
from stepbus_plugins.heads import Heads, NoSettings
from stepbus_plugins.lora import Lora
from stepbus_plugins.lora.layers import LoraLinear, first_a, merged

Make = Callable[..., dict[str, Any]]
FIXTURES = Path(__file__).parents[1] / "fixtures"
BASE = FIXTURES / "bert" / "binary"
QUERY = "bert.encoder.layer.0.attention.self.query"


def pick(kind: str, name: str) -> Selected:
    part = next(item for item in Heads.components if (item.kind, item.name) == (kind, name))
    return Selected(part, NoSettings())


def build(pooling: str = "cls") -> Any:
    settings = BertConfig(pretrained=str(BASE), head=pick("head", "binary"), pooling=pick("pooling", pooling))
    return Bert.components[0].build(settings, outputs=2, head=pick("head", "binary"), seed=0).eval()


def session(seed: int = 42) -> Any:
    locate = SimpleNamespace(locate=lambda problem: problem)
    return SimpleNamespace(fit=SimpleNamespace(seed=seed), config=locate)


def wrapped(**settings: Any) -> tuple[Lora, Any]:
    plugin = Lora(Lora.Config(**settings))
    return plugin, plugin.transform_model(session(), build()).eval()


def arrays_of(model: Any) -> dict[str, np.ndarray]:
    return {name: np.array(array) for name, array in model.tensors().items()}


def trained_names(plugin: Lora, model: Any) -> list[str]:
    names = [name for name, _ in tree_flatten(model.parameters())]
    return plugin.trained_parameters(session(), model, names)


@pytest.fixture(scope="module")
def peft() -> dict[str, np.ndarray]:
    with np.load(FIXTURES / "lora" / "lora.npz") as found:
        return dict(found)


@pytest.fixture(scope="module")
def batch() -> dict[str, mx.array]:
    with np.load(BASE / "expected.npz") as found:
        given = {name: mx.array(found[name]) for name in ("input_ids", "token_type_ids", "labels")}
        return {**given, "attention_mask": mx.array(found["attention_mask"].astype(np.float32))}


def test_updates_and_merge_are_pefts(peft: dict[str, np.ndarray], batch: dict[str, mx.array]) -> None:
    plugin, model = wrapped(rank=3, alpha=6)
    start = {name.removeprefix("before/"): mx.array(each) for name, each in peft.items() if name.startswith("before/")}
    model.load_tensors({**model.tensors(), **start}, strict=True)
    np.testing.assert_allclose(model(batch), peft["logits"], atol=1e-5)

    names = trained_names(plugin, model)

    def loss(values: dict[str, mx.array]) -> mx.array:
        model.update(tree_unflatten(list(values.items())))
        return model.head.loss(model(batch), batch["labels"]).mean()

    values = {name: each for name, each in tree_flatten(model.parameters()) if name in names}
    for _ in range(3):
        _, gradients = mx.value_and_grad(loss)(values)
        values = {name: each - 0.5 * gradients[name] for name, each in values.items()}
    model.update(tree_unflatten(list(values.items())))
    mx.eval(model.parameters())
    np.testing.assert_allclose(model(batch), peft["logits_after"], atol=1e-5)
    now = arrays_of(model)
    assert {name for name in now if f"after/{name}" in peft} == {model.tensor_name(name) for name in names}
    for name, each in peft.items():
        if name.startswith("after/"):
            np.testing.assert_allclose(now[name.removeprefix("after/")], each, atol=1e-5, err_msg=name)

    after = plugin.transform_export(session(), model.tensors())
    assert after.keys() == build().tensors().keys()
    for name, each in peft.items():
        if name.startswith("merged/"):
            np.testing.assert_allclose(after[name.removeprefix("merged/")], each, atol=1e-5, err_msg=name)
    plain = build()
    plain.load_tensors(after, strict=True)
    np.testing.assert_allclose(plain(batch), peft["logits_after"], atol=1e-5)


def test_merged_weights_by_hand() -> None:
    draw = np.random.default_rng(0)
    weight, a, b = (draw.normal(size=shape).astype(np.float32) for shape in ((5, 4), (2, 4), (5, 2)))
    given = {"x.weight": weight, "x.lora_A": a, "x.lora_B": b, "y.weight": weight, "lora_A": a}
    found = merged({name: mx.array(each) for name, each in given.items()}, 8 / 2)
    assert found.keys() == {"x.weight", "y.weight", "lora_A"}
    np.testing.assert_allclose(found["x.weight"], weight + 4 * b.astype(float) @ a.astype(float), atol=1e-5)
    np.testing.assert_array_equal(found["y.weight"], weight)


def test_the_first_forward_is_the_base_models(batch: dict[str, mx.array]) -> None:
    for settings in ({}, {"init": "gaussian", "rank": 2}, {"targets": ["*"]}, {"targets": ["query", "*.key", "dense"]}):
        _, model = wrapped(**settings)
        np.testing.assert_allclose(model(batch), build()(batch), atol=1e-6)
        assert any(isinstance(each, LoraLinear) for _, each in model.named_modules())


def test_a_is_a_function_of_seed_and_layer_alone() -> None:
    one = first_a(1, "x", (3, 4), "kaiming")
    assert np.array_equal(one, first_a(1, "x", (3, 4), "kaiming"))
    assert not np.array_equal(one, first_a(2, "x", (3, 4), "kaiming"))
    assert not np.array_equal(one, first_a(1, "y", (3, 4), "kaiming"))
    many = np.array(first_a(1, "x", (64, 100), "kaiming"))
    assert abs(many).max() <= 0.1 and many.std() == pytest.approx(0.1 / np.sqrt(3), rel=0.05)
    assert np.array(first_a(1, "x", (64, 100), "gaussian")).std() == pytest.approx(1 / 64, rel=0.05)
    assert first_a(-1, "x", (3, 4), "kaiming").shape == (3, 4)  # a seed may be any whole number


def test_dropout_drops_inputs_of_a_alone() -> None:
    layer = LoraLinear(nn.Linear(400, 3), 2, 1.0, 0.5, mx.ones((2, 400)))
    layer.lora_B = mx.ones((3, 2))
    x = mx.ones((1, 400))
    layer.eval()
    whole = np.array(layer(x) - (x @ layer.weight.T + layer.bias))
    np.testing.assert_allclose(whole, 800, rtol=1e-5)
    layer.train()
    mx.random.seed(0)
    part = np.array(layer(x) - (x @ layer.weight.T + layer.bias))
    assert part.std() < 1e-2 and 0 < abs(part[0, 0] - 800) < 200  # the same inputs are dropped for every output


@pytest.mark.parametrize(
    ("targets", "layers"),
    [
        (["query", "value"], 4),
        (["attention.self.*"], 6),
        (["encoder.encoder.layer.1.*"], 6),
        (["*.0.attention.self.query", "query"], 2),
        (["pooler.dense"], 1),
    ],
)
def test_targets(targets: list[str], layers: int) -> None:
    plugin, model = wrapped(targets=targets)
    assert len([name for name in trained_names(plugin, model) if name.endswith("lora_A")]) == layers


def test_a_layer_in_two_places_stays_one() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query = nn.Linear(4, 4)
            self.again = [{"query": self.query}]

    plugin = Lora(Lora.Config(targets=["query"]))
    model = plugin.transform_model(session(), Tied())
    assert isinstance(model.query, LoraLinear)
    assert model.again[0]["query"] is model.query


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"targets": ["querry"]}, r"\.targets: expected linear layers of the encoder, got 'querry', "
         r"which means none \(did you mean 'query'\?\); there are dense, key, query and value"),
        ({"targets": ["query", "LayerNorm"]}, "got 'LayerNorm', which means none"),
        ({"targets": ["head"]}, "got 'head', which means none"),  # it is trained itself
        ({"also_train": ["poler"]}, r"also_train: expected modules or parameters of the model, got 'poler', which "
         r"means none \(did you mean 'pooler'\?\)"),
    ],
)  # fmt: skip
def test_names_that_mean_nothing_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        trained_names(*wrapped(**settings))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rank": 0}, "rank: expected a whole number of at least 1, got 0"),
        ({"alpha": 0}, "alpha: expected a number above 0, got 0"),
        ({"dropout": 1.0}, "dropout: expected a number from 0 to below 1, got 1"),
        ({"targets": []}, "targets: expected at least one name, got"),
        ({"rnak": 4}, r"rnak: expected a known setting, got 'rnak' .did you mean 'rank'"),
        ({"init": "zero"}, "init: expected one of 'kaiming', 'gaussian', got 'zero'"),
        ({"adapter": True}, "adapter: expected model.pretrained, whose weights the adapter is for, got none"),
    ],
)
def test_settings_that_cannot_be_used(settings: dict[str, Any], words: str, tiny_config: Make) -> None:
    with pytest.raises(ConfigError, match=words):
        create_trainer(config=tiny_config(plugins={"progress": False, "lora": settings})).train()


class Keeps:
    """Keeps the trained model's tensors from before the first update and after the last, and what is said."""

    def __init__(self) -> None:
        self.first: dict[str, np.ndarray] = {}
        self.last: dict[str, np.ndarray] = {}
        self.said: list[str] = []
        self.states: set[str] = set()

    @hookimpl
    def on_fit_start(self, trainer: Any) -> None:
        self.first = arrays_of(trainer.model)
        self.states = set(trainer.optimizer.state["parameters"])

    @hookimpl
    def on_step_end(self, trainer: Any) -> None:
        self.last = arrays_of(trainer.model)

    @hookimpl
    def on_message(self, text: str) -> None:
        self.said.append(text)


@pytest.mark.parametrize("pooling", ["cls", "mean", "attention"])
def test_only_a_b_and_the_head_change(pooling: str, tiny_config: Make) -> None:
    keeps = Keeps()
    tree = tiny_config(model={"pooling": pooling}, plugins={"progress": False, "lora": {"rank": 2, "dropout": 0.1}})
    trainer = create_trainer(config=tree, plugins=[keeps])
    result = trainer.train()
    changed = {name for name, each in keeps.first.items() if not np.array_equal(each, keeps.last[name])}
    heads = {"classifier.weight", "classifier.bias"}
    own = {name for name in keeps.first if name.startswith("pooling.")}  # attention's, which no pretrained file has
    assert changed == {name for name in keeps.first if "lora_" in name} | heads | own
    assert len(keeps.states) == len(changed)
    # Merged by hand: what the trainer has, and what was exported.
    w, a, b = (keeps.last[f"{QUERY}.{part}"].astype(float) for part in ("weight", "lora_A", "lora_B"))
    now = arrays_of(trainer.model)
    np.testing.assert_allclose(now[f"{QUERY}.weight"], w + 8 * b @ a, atol=1e-6)
    assert not np.array_equal(now[f"{QUERY}.weight"], keeps.first[f"{QUERY}.weight"])
    assert not [name for name in now if "lora_" in name]
    assert result.model_path is not None
    stored = load_file(result.model_path / "model.safetensors")
    assert stored.keys() == now.keys() and all(np.array_equal(stored[name], now[name]) for name in now)
    assert result.metrics == trainer.evaluate(tree["data"]["validation"]) | {
        name: value for name, value in result.metrics.items() if not name.startswith("eval_")
    }
    assert any(text.startswith("lora: ") and "A and B of 4 layers" in text for text in keeps.said)


def test_what_is_random_and_stays_so_is_said(tiny_config: Make, tmp_path: Path) -> None:
    first = create_trainer(config=tiny_config(model={"pooling": "mean"}, training={"max_steps": 1})).train()
    model = {"pretrained": str(first.model_path), "pooling": "cls", "tokenizer": None}
    sizes = dict.fromkeys(
        ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "max_position_embeddings")
    )
    said = {}
    for name, more in (("silent", {"also_train": ["pooler"]}), ("said", {})):
        keeps = Keeps()
        tree = tiny_config(
            model={**model, **sizes},
            training={"max_steps": 2},
            plugins={"progress": False, "lora": more},
            environment={"output_dir": str(tmp_path / name)},
        )
        create_trainer(config=tree, plugins=[keeps]).train()
        said[name] = [text for text in keeps.said if "stay as they were drawn" in text]
        trained = {key for key, each in keeps.first.items() if not np.array_equal(each, keeps.last[key])}
        assert ("bert.pooler.dense.weight" in trained) == (name == "silent")
    assert said["silent"] == []
    assert said["said"] == [
        "lora: bert.pooler.dense.bias and bert.pooler.dense.weight had no pretrained weights and stay as they were "
        "drawn; name them in plugins.lora.also_train"
    ]


def test_the_adapter_is_pefts(tiny_config: Make, tmp_path: Path) -> None:
    sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "max_position_embeddings")
    first = create_trainer(config=tiny_config(model={"pooling": "cls"}, training={"max_steps": 1})).train()
    model = {"pretrained": str(first.model_path), "pooling": "cls", "tokenizer": None, **dict.fromkeys(sizes)}
    keeps = Keeps()
    tree = tiny_config(
        model=model,
        plugins={"progress": False, "lora": {"rank": 3, "alpha": 6, "adapter": True}},
        environment={"output_dir": str(tmp_path / "second")},
    )
    trainer = create_trainer(config=tree, plugins=[keeps])
    result = trainer.train()
    assert result.model_path is not None
    # In a folder of its own: beside merged weights transformers would add it to them once more.
    assert not [path for path in result.model_path.iterdir() if path.name.startswith("adapter")]
    folder = result.model_path.parent / "adapter"
    expected = json.loads((FIXTURES / "lora" / "adapter.json").read_text())
    tensors = load_file(folder / "adapter_model.safetensors")
    assert tensors.keys() == expected["tensors"].keys()
    for name, each in tensors.items():
        ours = name.removeprefix("base_model.model.").replace(".lora_A.weight", ".lora_A")
        np.testing.assert_array_equal(each, keeps.last[ours.replace(".lora_B.weight", ".lora_B")])
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config.keys() <= expected["config"].keys()
    own = {"base_model_name_or_path", "target_modules", "modules_to_save"}
    assert {name: each for name, each in config.items() if name not in own} == {
        name: each for name, each in expected["config"].items() if name in config.keys() - own
    }
    assert config["base_model_name_or_path"] == str(first.model_path)
    assert config["modules_to_save"] == ["classifier"]
    # A second stage starts from other weights, which no folder names as its base.
    trainer.train()
    assert json.loads((folder.parents[1] / "fit" / "adapter" / "adapter_config.json").read_text()) == config
    (warning,) = (text for text in keeps.said if "the adapter belongs to weights" in text)
    assert f"not those of {first.model_path}" in warning


def test_a_model_of_the_callers_stays_itself_and_is_wrapped_anew(tiny_config: Make) -> None:
    tree = tiny_config(plugins={"progress": False, "lora": {}}, training={"max_steps": 3})
    sizes = {name: each for name, each in tree["model"].items() if name != "type"}
    model = create_model("bert_with_head", head_type="binary_classification", **sizes)
    before = arrays_of(model)
    keeps = Keeps()
    trainer = create_trainer(model, config=tree, plugins=[keeps])
    trainer.train()
    assert trainer.model is model
    first = arrays_of(model)
    assert first.keys() == before.keys()
    assert not [name for name, each in model.named_modules() if isinstance(each, LoraLinear)]
    trainer.train()
    np.testing.assert_array_equal(keeps.first[f"{QUERY}.weight"], first[f"{QUERY}.weight"])
    assert not keeps.first[f"{QUERY}.lora_B"].any()
    second = arrays_of(model)
    assert second.keys() == before.keys()
    # And without the plugin everything is trained again.
    trainer.update_config(**{"plugins.lora": False})
    trainer.train()
    third = arrays_of(trainer.model)
    name = "bert.encoder.layer.0.output.dense.weight"
    assert np.array_equal(second[name], before[name]) and not np.array_equal(third[name], before[name])


@pytest.mark.parametrize("other", ["freeze", "reinitialize"])
def test_what_it_cannot_go_with(other: str, tiny_config: Make) -> None:
    stand_in = type(other.capitalize(), (), {"on_fit_start": hookimpl(lambda self: None)})
    with pytest.raises(ConfigError, match=f"expected lora or {other}, got both; .* exclude each other"):
        create_trainer(config=tiny_config(plugins={"progress": False, "lora": {}}), plugins=[stand_in]).train()


def test_its_dropout_is_drawn_again_where_layers_are_computed_again(tiny_config: Make) -> None:
    losses: list[list[float]] = []
    for more in ({}, {"gradient_checkpointing": {}}):
        plugins = {"progress": False, "lora": {"rank": 2, "dropout": 0.5}, **more}
        result = create_trainer(config=tiny_config(plugins=plugins, optimizer={"learning_rate": 0.05})).train()
        losses.append([result.metrics["eval_loss"], *(record["eval_loss"] for record in result.history)])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_folds_share_what_is_compiled(tiny_config: Make) -> None:
    tree = tiny_config(plugins={"progress": False, "lora": {"rank": 2}, "cross_validation": {"folds": 2}})
    tree["data"]["validation"] = None
    first, second = create_trainer(config=tree).train().parts
    assert second.traces < first.traces


def test_a_run_opens_as_it_ended(tiny_config: Make) -> None:
    tree = tiny_config(plugins={"progress": False, "lora": {"rank": 2}, "cross_validation": {"folds": 2}})
    tree["data"]["validation"] = None
    trainer = create_trainer(config=tree)
    result = trainer.train()
    rows = tree["data"]["train"]
    assert result.directory is not None
    np.testing.assert_array_equal(open_trainer(result.directory).predict(rows), trainer.predict(rows))
