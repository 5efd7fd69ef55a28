"""Poolings of all hidden layers from end to end: trained, scored, opened again, resumed, planned, refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from stepbus import BadInput, create_model, create_trainer, mx, open_trainer
from stepbus.cli.main import main
from stepbus.compute.folders import read_tensors

Make = Callable[..., dict[str, Any]]
ROWS = {"text": ["good film", "a dull plot", "it was lovely and it was fine"]}
CASES: dict[str, Any] = {
    "weighted_layers": "weighted_layers",
    "last_four": "last_four",
    "last_four_cls": {"type": "last_four", "tokens": "cls"},
}


def tree_of(tiny_config: Make, pooling: Any, layers: int = 5, **sections: Any) -> dict[str, Any]:
    return tiny_config(
        model={"pooling": pooling, "num_hidden_layers": layers}, training={"num_epochs": 1, "log_steps": 3}, **sections
    )


@pytest.mark.parametrize("case", CASES)
def test_an_opened_folder_says_the_same(tiny_config: Make, tmp_path: Path, case: str) -> None:
    trainer = create_trainer(config=tree_of(tiny_config, CASES[case]))
    trainer.train()
    here = trainer.predict(ROWS)
    for opened in (open_trainer(tmp_path / "run"), open_trainer(tmp_path / "run" / "model")):
        np.testing.assert_array_equal(opened.predict(ROWS), here)
        assert opened.model.pooling.all_layers
    tensors = read_tensors(tmp_path / "run" / "model")
    width = 16 if case == "weighted_layers" else 64
    assert tensors["classifier.weight"].shape == (2, width)
    assert ("pooling.weights" in tensors) == (case == "weighted_layers")
    if case == "weighted_layers":
        assert tensors["pooling.weights"].shape == (6,) and np.abs(np.array(tensors["pooling.weights"])).max() > 0


def test_the_two_kinds_of_last_four_are_not_each_other(tiny_config: Make, tmp_path: Path) -> None:
    """A run that was trained on the first token is opened so, not with the default."""
    trainer = create_trainer(config=tree_of(tiny_config, CASES["last_four_cls"]))
    trainer.train()
    assert open_trainer(tmp_path / "run").model.pooling.first_token_only
    hidden = [np.random.default_rng(i).normal(size=(1, 3, 16)).astype(np.float32) for i in range(6)]
    given = [mx.array(each) for each in hidden]
    pooled = np.array(open_trainer(tmp_path / "run" / "model").model.pooling(given, mx.ones((1, 3))))
    np.testing.assert_allclose(pooled[0], np.concatenate([each[0, 0] for each in hidden[-4:]]), atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_the_pretrained_folder_gives_encoder_and_head(tiny_config: Make, tmp_path: Path, case: str) -> None:
    first = create_trainer(config=tree_of(tiny_config, CASES[case]))
    first.train()
    tree = tree_of(tiny_config, CASES[case], environment={"output_dir": str(tmp_path / "second")})
    tree["model"] = {"pretrained": str(tmp_path / "run" / "model"), "pooling": CASES[case]}
    tree["training"] |= {"max_steps": 1}
    second = create_trainer(config=tree)
    second.train()
    assert second.predict(ROWS).shape == (3, 2)


def test_too_few_layers_are_refused_by_plan_and_train(
    tiny_config: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(tree_of(tiny_config, "last_four", layers=3)))
    words = "model.pooling: last_four: expected a model of at least 4 layers, got 3 layers; use weighted_layers or mean"
    for command in ("plan", "train"):
        assert main([command, str(path)]) == 2
        told = capsys.readouterr()
        assert words in told.out + told.err and "Traceback" not in told.err


@pytest.mark.parametrize("case", CASES)
def test_a_plan_counts_what_the_model_has(
    tiny_config: Make, tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(tree_of(tiny_config, CASES[case])))
    assert main(["plan", str(path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)["memory"]["parameters"]
    model = create_model("bert", **tree_of(tiny_config, CASES[case])["model"] | {"head": "binary"})
    assert said == sum(array.size for array in model.tensors().values())


def test_a_setting_of_another_name_is_told(tiny_config: Make) -> None:
    tree = tree_of(tiny_config, {"type": "last_four", "token": "cls"})
    with pytest.raises(BadInput, match=r"expected a known setting, got 'token' \(did you mean 'tokens'\?\)"):
        create_trainer(config=tree)
    with pytest.raises(BadInput, match=r"expected one of 'mean', 'cls', got 'max'"):
        create_trainer(config=tree_of(tiny_config, {"type": "last_four", "tokens": "max"}))
