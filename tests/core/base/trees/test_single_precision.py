"""Numbers that no float32 holds are refused where settings are typed, whoever declared them."""

from __future__ import annotations

import numpy as np
import pytest
from attrs import define

from stepbus import ConfigError, load_config, setting
from stepbus.base.trees import structure
from stepbus.base.trees.single_precision import LARGEST, SMALLEST


@define(frozen=True, kw_only=True)
class Strange:
    """Settings of somebody's plugin, without any check of their own."""

    scale: float = setting(1.0, "a scale")
    limit: float = setting(1e300, "a limit that its author chose")
    each: dict[str, list[float]] | None = setting(None, "numbers inside others")
    count: int = setting(0, "no float")
    name: str = setting("", "no number")


def test_the_bounds_are_those_of_numpys_float32() -> None:
    assert float(np.finfo(np.float32).max) == LARGEST
    assert float(np.finfo(np.float32).smallest_normal) == SMALLEST


@pytest.mark.parametrize("number", [1e300, -1e300, 3.5e38, 10**40, 1e-60, -1e-39])
def test_what_float32_does_not_hold_is_refused(number: float) -> None:
    with pytest.raises(ConfigError, match=r"^scale: expected a number that float32 holds \(0, or 1\.2e-38 to "):
        structure(Strange, {"scale": number})
    with pytest.raises(ConfigError, match=r"^each: expected a number that float32 holds .*, got "):
        structure(Strange, {"each": {"a": [1.0, number]}})


@pytest.mark.parametrize("number", [0.0, -0.0, SMALLEST, -SMALLEST, LARGEST, -LARGEST, 1, 1e-30])
def test_what_float32_holds_is_taken(number: float) -> None:
    assert structure(Strange, {"scale": number, "each": {"a": [number]}}).scale == number


def test_whole_numbers_texts_and_an_authors_own_default_are_left_alone() -> None:
    made = structure(Strange, {"count": 10**40, "name": "1e300", "limit": 1e300})
    assert (made.count, made.name, made.limit) == (10**40, "1e300", 1e300)  # a stored configuration loads again


@pytest.mark.parametrize(
    "tree",
    [
        {"optimizer": {"learning_rate": 1e300}},
        {"optimizer": {"learning_rate": 1e-60}},
        {"optimizer": {"weight_decay": 1e300}},
        {"optimizer": {"type": "adam", "epsilon": 1e-60}},
        {"optimizer": {"type": "adafactor", "clip_threshold": 1e39}},
        {"optimizer": {"type": "schedule_free", "epsilon": 1e-60}},
        {"scheduler": {"type": "cosine", "min_lr": 1e-60}},
        {"scheduler": {"type": "polynomial", "power": 1e300}},
        {"scheduler": {"type": "reduce_on_plateau", "factor": 1e-60}},
        {"plugins": {"gradient_clipping": {"max_norm": 1e300}}},
        {"plugins": {"lora": {"alpha": 1e300}}},
        {"loss": {"type": "huber", "delta": 1e-60}},
    ],
)
def test_no_part_takes_such_a_number(tree: dict[str, dict[str, object]]) -> None:
    with pytest.raises(ConfigError, match="expected a number that float32 holds"):
        load_config(tree)
