"""A hook that forgets its return changes nothing, and no run says so: the doctor does."""

from __future__ import annotations

from typing import Any

import pytest

from stepbus import hookimpl
from stepbus.author.checks import problems_of
from stepbus.author.silent_hooks import silent_problem
from stepbus.testing import assert_conforms
from stepbus.testing.scripted import loaded_class


class Forgets:
    """Wrap the loss, and forget to give the new one back."""

    @hookimpl
    def wrap_loss(self, loss: Any) -> Any:
        def doubled(forward: Any, batch: Any) -> Any:
            rows, named = loss(forward, batch)
            return rows * 2, named

        self.wrapped = doubled


def test_one_that_forgets_its_return() -> None:
    words = (
        "wrap_loss returns nothing, and so changes nothing: expected a function loss(forward, batch) from it; end it"
    )
    assert problems_of(loaded_class(Forgets)) == [f"{words} with return"]
    with pytest.raises(AssertionError, match=r'Forgets breaks the rule "is well made": wrap_loss returns nothing'):
        assert_conforms(Forgets)


def none_in_words(self: Any, trainer: Any) -> Any:
    trainer.message("on my way")
    return None


def in_a_branch(self: Any, trainer: Any) -> Any:
    if trainer.state.step:
        return [3]
    return None


def raises(self: Any) -> Any:
    raise NotImplementedError


def empty(self: Any) -> Any:
    """Do nothing."""


def test_what_returns_nothing_and_what_does() -> None:
    assert silent_problem("phases", none_in_words).startswith("phases returns nothing")
    assert silent_problem("phases", in_a_branch) == ""
    assert silent_problem("phases", raises) == ""
    assert silent_problem("phases", empty) == ""
    for hook in ("transform_model", "validate_plan", "is_boundary", "on_step_end"):
        assert silent_problem(hook, none_in_words) == ""
    assert silent_problem("phases", lambda self: None) == ""
    assert silent_problem("phases", len) == ""
