"""A fit that fails says why, whichever of its parts it had by then."""

from __future__ import annotations

from typing import Any

import pytest

from stepbus import hookimpl
from stepbus.fit import session as sessions
from stepbus.testing import play, tiny_fit


class Ends:
    @hookimpl
    def on_fit_end(self, trainer: Any, state: Any, result: Any) -> None:
        self.told = (result.status, result.traces)


class Renames:
    """A plugin that changes the model, so that a fit has to give another one back."""

    @hookimpl
    def transform_model(self, trainer: Any, model: Any) -> None:
        model.stamp = "changed"


@pytest.mark.parametrize("missing", [["steps"], ["optimizer"], ["model"], ["model", "optimizer", "steps", "data"]])
def test_a_fit_without_all_its_parts_says_why_it_failed(missing: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(session: Any) -> None:
        for name in missing:
            object.__delattr__(session, name)
        raise OSError("the cause itself")

    monkeypatch.setattr(sessions, "run_fit", broken)
    ends = Ends()
    with pytest.raises(OSError, match="the cause itself") as raised:
        play(ends)
    assert ends.told == ("failed", 0)
    assert getattr(raised.value, "__notes__", []) == []


@pytest.mark.parametrize("missing", [["steps"], ["model", "steps"]])
def test_a_changed_model_without_steps_says_why_it_failed(missing: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(session: Any) -> None:
        for name in missing:
            object.__delattr__(session, name)
        raise OSError("the cause itself")

    monkeypatch.setattr(sessions, "run_fit", broken)
    with pytest.raises(OSError, match="the cause itself") as raised:
        tiny_fit(Renames)
    assert getattr(raised.value, "__notes__", []) == []
