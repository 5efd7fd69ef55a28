"""Every two techniques that go together train in one compiled step; others are refused before a weight is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepbus import BadInput, create_trainer, hookimpl, import_module

techniques = import_module(str(Path(__file__).parents[1] / "fixtures" / "techniques.py"))


class Watched:
    def __init__(self) -> None:
        self.losses: list[float] = []
        self.skipped = 0

    @hookimpl
    def on_step_end(self, step: Any) -> None:
        self.losses.append(step.loss)
        self.skipped += step.skipped


def short(tiny_config: Callable[..., dict[str, Any]], *names: str, **data: Any) -> dict[str, Any]:
    """A run of two epochs of six batches; 44 rows have several lengths, and a batch of four at the end."""
    tree = tiny_config(plugins={"progress": False, "checkpoint": {"save_strategy": "no"}})
    tree["data"].update(data or {"batch_size": 8})
    return techniques.together(tree, *names)


@pytest.mark.parametrize("pair", techniques.pairs(), ids="+".join)
def test_two_techniques_train_together(
    pair: tuple[str, str], tiny_config: Callable[..., dict[str, Any]], one_shape: dict[str, str]
) -> None:
    watched = Watched()
    result = create_trainer(config=short(tiny_config, *pair, **one_shape), plugins=[watched]).train()
    assert result.steps == len(watched.losses) > 5
    assert all(np.isfinite(watched.losses)) and watched.skipped < 2
    assert np.isfinite(result.metrics["eval_loss"])


@pytest.mark.parametrize("pair", [sorted(pair) for pair in techniques.EXCLUSIVE], ids="+".join)
def test_two_that_exclude_each_other_say_so(pair: list[str], tiny_config: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(BadInput) as caught:
        create_trainer(config=short(tiny_config, *pair)).train()
    words = [name.removeprefix("gradual_").replace("unfreezing", "freeze") for name in pair]
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_as_many_as_go_together_train(tiny_config: Callable[..., dict[str, Any]]) -> None:
    watched = Watched()
    tree = short(tiny_config, *techniques.TOGETHER)
    result = create_trainer(config=tree, plugins=[watched]).train()
    assert result.steps == len(watched.losses) > 3
    assert all(np.isfinite(watched.losses))
