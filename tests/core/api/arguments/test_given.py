"""Settings beside a model: one that is there may be overridden; two values in one call are a contradiction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepbus import ConfigError, create_model, create_trainer

TOKENS = {"tokenizer": str(Path(__file__).parents[3] / "fixtures" / "small_tokenizer"), "vocab_size": 49}
SIZES = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}


@pytest.mark.parametrize(
    ("model", "keywords", "said"),
    [
        (
            {"hidden_size": 8},
            {"hidden_size": 16},
            "model.hidden_size: expected one value of it in a call, got 8 and 16",
        ),
        ({"pooling": "cls"}, {"pooling": "max"}, "model.pooling: expected one value of it in a call, got 'cls' and"),
        ({"dropout": 0.3}, {"model__dropout": 0.1}, "model.dropout: expected one value of it in a call, got 0.3 and"),
    ],
)
def test_a_model_that_is_described_in_the_call_has_one_value_for_each_setting(
    model: Any, keywords: dict[str, Any], said: str
) -> None:
    """The bare name won without a word."""
    with pytest.raises(ConfigError) as caught:
        create_trainer(model=model, **TOKENS, **keywords)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("name", ["dropout", "model__dropout"])
def test_keywords_lie_over_the_settings_of_a_model_that_is_there(name: str) -> None:
    model = create_model("bert", **SIZES, **TOKENS, dropout=0.3)
    assert create_trainer(model).config.model.settings.dropout == 0.3
    assert create_trainer(model, **{name: 0.1}).config.model.settings.dropout == 0.1
    same: Any = {"dropout": 0.3, name: 0.3}
    assert create_trainer(model={**SIZES, **TOKENS, "dropout": 0.3}, **same).config.model.settings.dropout == 0.3
