"""Loss scaling, accumulation, R-Drop, FGM, AWP, clipping and an average in one step, and an overflow on purpose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepbus import hookimpl, import_module

hooks = import_module(str(Path(__file__).with_name("test_step_hooks.py")))

PLUGINS: dict[str, Any] = {
    "progress": False,
    "nan_guard": False,
    "gradient_clipping": {"max_norm": 0.5},
    "rdrop": {},
    "adversarial_training": {"epsilon": 0.3},
    "awp": {"use": "stepbus_plugins.adversarial_training:AdversarialTraining", "mode": "awp"},
    "ema": {"decay": 0.8},
}


class Arrays:
    """Keep all that the optimizer and plugins hold after each update."""

    def __init__(self) -> None:
        self.states: list[dict[str, Any]] = []

    @hookimpl
    def on_step_end(self, trainer: Any) -> None:
        self.states.append({name: np.array(array) for name, array in trainer.optimizer.arrays().items()})


def test_an_overflow_under_all_of_them_changes_nothing_and_resumes(
    tiny_config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    def tree(name: str) -> dict[str, Any]:
        found: dict[str, Any] = tiny_config(
            plugins=PLUGINS,
            training={"precision": "float16", "gradient_accumulation_steps": 2, "max_steps": 7, "num_epochs": 4},
            data={"batch_size": 8},
            scheduler={"type": "linear"},
            environment={"output_dir": str(tmp_path / name)},
        )
        return found

    seen = Arrays()
    whole = hooks.fitted(tree("whole"), hooks.Overflow(5), seen)
    assert [step.skipped for step in whole.steps] == [number == 5 for number in range(1, 8)]
    assert [step.loss_scale for step in whole.steps] == [65536.0] * 5 + [32768.0] * 2
    before, after, later = whole.weights[3:6]
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert any(not np.array_equal(after[name], later[name]) for name in before)
    kept = [name for name in seen.states[3] if name not in ("learning_rate", "loss_scale", "good_steps")]
    assert any(name.startswith("plugins.ema.") for name in kept)
    assert all(np.array_equal(seen.states[3][name], seen.states[4][name]) for name in kept)
    scalars = {"rdrop_kl", "adversarial_loss", "adversarial_loss_awp", "gradient_norm"}
    assert all(scalars <= step.scalars.keys() for step in whole.steps)
    for cut in (4, 5):  # right before it, and right after it
        with pytest.raises(KeyboardInterrupt):
            hooks.fitted(tree(f"cut-{cut}"), hooks.Overflow(5), hooks.Cut(cut), Arrays())
        rest = hooks.fitted(tree(f"cut-{cut}"), hooks.Overflow(5), hooks.Cut(99), Arrays(), resume=True)
        finite = [step.loss for step in whole.steps[cut:] if not step.skipped]
        assert [step.loss for step in rest.steps if not step.skipped] == finite
        for name, array in whole.weights[-1].items():
            assert np.array_equal(array, rest.weights[-1][name]), (cut, name)
