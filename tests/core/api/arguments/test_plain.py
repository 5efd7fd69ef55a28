"""What is true or false, and whole numbers, by the arguments of Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepbus import BadInput, Trainer, create_trainer, open_run, open_trainer
from stepbus.api.arguments.plain import flag, whole_number


@pytest.mark.parametrize("value", [True, 1, np.True_, np.bool_(True)])
def test_what_is_true(value: Any) -> None:
    assert flag(value, "it") is True
    assert flag(not value, "it") is False


def test_whole_numbers_may_come_from_numpy() -> None:
    assert [whole_number(value, "it", 0) for value in (3, np.int64(3), np.uint8(3))] == [3, 3, 3]
    for value, got in ((np.float64(3), "3.0"), (True, "True"), (np.True_, "np.True_"), ("3", "'3'"), (None, "None")):
        with pytest.raises(BadInput, match=f"it: expected a whole number of at least 0, got {got}"):
            whole_number(value, "it", 0)


CALLS: dict[str, Any] = {
    "return_logits": lambda trainer, value: trainer.predict(["good"], value),
    "save_optimizer": lambda trainer, value: trainer.save_checkpoint("never", value),
    "load_optimizer": lambda trainer, value: trainer.load_checkpoint("never", value),
    "allow_changed": lambda trainer, value: trainer.train(allow_changed=value),
    "trace_hooks": lambda trainer, value: trainer.train(trace_hooks=value),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_text_is_not_taken_for_true_nor_rows_for_anything(
    name: str, tiny_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trainer: Trainer = create_trainer(config=tiny_config(training={"max_steps": 1}))
    for value, got in (("no", "'no'"), (2, "2"), (None, "None"), (pd.DataFrame({"text": ["a"]}), "a DataFrame")):
        with pytest.raises(BadInput, match=f"^{name}: expected True or False, got {got}$"):
            CALLS[name](trainer, value)
    assert not (tmp_path / "never").exists() and not (tmp_path / "run").exists()


@pytest.mark.parametrize("call", [open_trainer, open_run])
def test_trust_is_not_granted_by_a_word(call: Any) -> None:
    with pytest.raises(BadInput, match=r"^trust: expected True or False, got 'no'$"):
        call("never", trust="no")
