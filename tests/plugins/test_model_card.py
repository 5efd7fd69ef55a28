"""The model card: read by huggingface_hub, whatever labels and columns are called, and without a word too many."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pandas as pd
import pytest
import yaml
from huggingface_hub import ModelCard as HubCard
from hypothesis import given
from hypothesis import strategies as st

from stepbus import create_trainer, open_trainer, setting
from stepbus_plugins.model_card import ModelCard
from stepbus_plugins.model_card.card import card, of_sets, word
from stepbus_plugins.model_card.facts import Facts, base_of, settings_of

Make = Callable[..., dict[str, Any]]
NASTY = [
    "a|b",
    "# head",
    "*x*",
    "`y`",
    "<script>",
    "---",
    "key: value",
    "[link](http://x)",
    "ü\nnew",
    "'\"",
    "",
    "null",
]


def facts(**more: Any) -> Facts:
    known: dict[str, Any] = {
        "task": "binary",
        "is_text": True,
        "architecture": "BertForSequenceClassification",
        "family": "bert",
        "base": "",
        "hub_base": "",
        "labels": ("no", "yes"),
        "columns": ("text",),
        "rows": {"train": 44, "validation": 20},
        "scored": ("validation",),
        "monitored": "validation",
        "decided": (),
        "metrics": {"eval_loss": 0.5, "eval_accuracy": 0.75},
        "settings": {"optimizer.learning_rate": "5e-05"},
        "plugins": ("lora",),
        "steps": 22,
        "epochs": 2.0,
        "cut": 16,
        "version": "0.1.0",
    }
    return Facts(**{**known, **more})


def parsed(found: Facts, **settings: Any) -> HubCard:
    return HubCard(card(found, ModelCard.Config(**settings)))


def test_the_metadata_is_what_the_hub_reads() -> None:
    found = parsed(facts(hub_base="bert-base/x", base="bert-base/x"), license="mit", language=["en", "de"], name="Mine")
    assert found.data.to_dict() == {
        "library_name": "stepbus",
        "license": "mit",
        "language": ["en", "de"],
        "base_model": "bert-base/x",
        "pipeline_tag": "text-classification",
        "tags": ["stepbus", "mlx", "bert", "text-classification", "binary"],
        "metrics": ["loss", "accuracy"],
        "model-index": [
            {
                "name": "Mine",
                "results": [
                    {
                        "task": {"type": "text-classification"},
                        "dataset": {"name": "validation", "type": "unknown", "split": "validation"},
                        "metrics": [
                            {"type": "loss", "value": 0.5, "name": "loss"},
                            {"type": "accuracy", "value": 0.75, "name": "accuracy"},
                        ],
                    }
                ],
            }
        ],
    }
    assert found.data.eval_results[0].metric_value == 0.5
    assert found.text.lstrip().startswith("# Mine\n")


@pytest.mark.parametrize("metrics", [{}, {"eval_loss": math.nan}, {"eval_loss": math.inf}])
def test_without_a_number_there_is_no_index(metrics: dict[str, float]) -> None:
    found = parsed(facts(metrics=metrics))
    assert "model-index" not in found.data.to_dict() and "metrics" not in found.data.to_dict()
    assert ("not a number" in found.text or "+inf" in found.text) == bool(metrics)
    assert ("No rows with labels were held out" in found.text) == (not metrics)


@given(st.text(max_size=30))
def test_any_label_is_only_a_word(label: str) -> None:
    names = {"labels": (label, "x"), "rows": {label: 1}, "scored": (label,), "monitored": label, "columns": (label,)}
    try:
        text = card(facts(**names), ModelCard.Config(name=label or None))
        text.encode()
    except UnicodeEncodeError:
        return  # half a letter, which no file holds
    found = HubCard(text)
    assert (
        found.data["model-index"][0]["results"][0]["dataset"]["name"] == label if "model-index" in found.data else True
    )
    assert yaml.safe_load(text.split("---\n")[1])["library_name"] == "stepbus"
    heads = [line for line in found.text.splitlines() if line.startswith("#")]
    assert [head.partition(" ")[0] for head in heads] == ["#", *["##"] * 6]
    assert (
        len([line for line in text.splitlines() if line.startswith("|")])
        == len([line for line in card(facts(), ModelCard.Config()).splitlines() if line.startswith("|")]) - 1
    )


def test_words_by_hand() -> None:
    assert word("a|b") == r"a\|b"
    assert word("*x* `y` <z> [l](u) #h") == r"\*x\* \`y\` \<z\> \[l\]\(u\) \#h"
    assert word(" two\nlines\x1b[31m ") == r"two lines \[31m"
    assert word("") == "(empty)" and word("Grüße 7") == "Grüße 7"


def test_metrics_go_to_their_sets() -> None:
    found = facts(
        scored=("validation", "holdout", "hold"),
        metrics={"eval_loss": 1.0, "holdout_f1": 2.0, "hold_f1": 3.0, "hold_out": 4.0, "other": 5.0},
    )
    assert of_sets(found) == {
        "validation": {"loss": 1.0},
        "holdout": {"f1": 2.0},
        "hold": {"f1": 3.0, "out": 4.0},
    }


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (None, ("", "")),
        ("google/bert_uncased_L-2_H-128_A-2", ("google/bert_uncased_L-2_H-128_A-2",) * 2),
        ("pypi:name==1.0/a/b#sha256=00", ("pypi:name==1.0/a/b", "")),
        ("/home/somebody/secret", ("a model in a folder", "")),
        ("runs/fits/fit/model", ("a model in a folder", "")),
        ("tests/core", ("a model in a folder", "")),  # which is there, whatever the hub has of that name
    ],
)
def test_the_base_is_said_without_a_path(source: str | None, words: tuple[str, str]) -> None:
    assert base_of(source) == words


def test_only_numbers_and_names_of_components_are_told() -> None:
    @attrs.define
    class Config:
        api_key: str = setting("hush", "x")

    loaded = SimpleNamespace(origin="third-party", cls=type("Mine", (), {}))
    values = {
        "optimizer": {
            "type": "adamw",
            "learning_rate": 1e-5,
            "path": "/home/x",
            "token": 7,
            "password": 8,
            "note": "hi",
        },
        "training": {"num_epochs": 3, "log_steps": 9, "greater": True, "odd": math.nan, "none": None, "of": [1, 2]},
        "data": {"type": "text", "max_length": 128, "train": "train.csv"},
        "plugins": {"mine": {"api_key": "hush", "rank": 3}},
    }
    config = SimpleNamespace(deciding=lambda: values, plugins=[SimpleNamespace(name="mine", loaded=loaded)])
    assert dict(settings_of(config)) == {
        "data.type": "text",
        "data.max_length": "128",
        "optimizer.type": "adamw",
        "optimizer.learning_rate": "1e-05",
        "training.num_epochs": "3",
        "training.greater": "true",
    }


def frame(labels: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"te|xt": ["a film was good", "the plot was bad"] * 8, "la`bel": labels * (16 // len(labels))})


def run(tree: dict[str, Any], rows: Any = None, **card_settings: Any) -> tuple[Any, str]:
    trainer = create_trainer(config={**tree, "plugins": {**tree["plugins"], "model_card": card_settings}})
    result = trainer.train(rows, 0.25) if rows is not None else trainer.train()
    assert result.model_path is not None
    return result, result.model_path.joinpath("README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("labels", [["a|b", "# head"], ["---", "<b>x</b>"], ["key: value", "[l](http://x)"]])
def test_of_a_run(labels: list[str], tiny_config: Make) -> None:
    tree = tiny_config(data={"text": "te|xt", "label": "la`bel", "train": None, "validation": None})
    result, text = run({**tree, "training": {"num_epochs": 1}}, frame(labels))
    found = HubCard(text)
    (index,) = found.data.to_dict()["model-index"]
    told = {each["name"]: each["value"] for each in index["results"][0]["metrics"]}
    scored = {name: value for name, value in result.metrics.items() if name.startswith("eval_")}
    assert told == {name.removeprefix("eval_"): value for name, value in scored.items() if math.isfinite(value)}
    assert f"Labels, in the order of its outputs: {', '.join(word(label) for label in sorted(labels))}." in text
    assert "trainer.predict([{'te|xt': '…'}])" in text
    assert "| train | 12 |" in text and "| validation | 4 |" in text
    # What it says of its use is true.
    said = re.search(r"trainer\.predict\((.*)\)\)", text)
    assert said is not None
    assert open_trainer(result.model_path).predict(eval(said[1])).shape == (1, 2)


@pytest.mark.parametrize("task", ["regression", "multilabel", "multiclass"])
def test_of_each_task(task: str, tiny_config: Make) -> None:
    rows = pd.DataFrame({"text": ["a film was good", "the plot was bad"] * 8, "label": [0.5, 1.25, 3.75, 2.0] * 4})
    more: dict[str, Any] = {"train": None, "validation": None}
    if task == "multiclass":
        rows["label"] = ["x", "y", "z", "x"] * 4
    if task == "multilabel":
        rows = rows.assign(one=[0, 1] * 8, two=[1, 1, 0, 0] * 4).drop(columns="label")
        more |= {"label": ["one", "two"], "task": "multilabel"}
    _, text = run({**tiny_config(data=more), "training": {"num_epochs": 1}}, rows)
    assert task in HubCard(text).data.tags
    assert ("stepbus_target" in text) == (task == "regression")


def test_nothing_of_the_machine_is_in_it(tiny_config: Make, tmp_path: Path) -> None:
    first, _ = run(tiny_config(training={"num_epochs": 1}))
    sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "max_position_embeddings")
    tree = tiny_config(
        model={"pretrained": str(first.model_path), "tokenizer": None, **dict.fromkeys(sizes)},
        environment={"output_dir": str(tmp_path / "second")},
        plugins={"progress": False, "early_stopping": {"patience": 1}},
    )
    _, text = run(tree, intended_use="For **tests**.\n\n- only", limitations="Everything.")
    assert str(tmp_path) not in text and "tmp" not in text and Path.home().name not in text.split()
    assert "It started from the weights of a model in a folder." in text
    assert "For **tests**.\n\n- only\n" in text and "Everything.\n" in text
    assert "Decisions were made by the scores of validation" in text


def test_two_runs_have_one_card(tiny_config: Make, tmp_path: Path) -> None:
    texts = [run(tiny_config(environment={"output_dir": str(tmp_path / name)}))[1] for name in ("one", "two")]
    assert texts[0] == texts[1]
