"""Errors in a notebook: the user's lines and the sentence."""

from __future__ import annotations

import pytest

from stepbus import BadInput, ConfigError, Problem, create_trainer
from stepbus.base.errors import Interrupted, PluginFailure
from stepbus.base.showing import short_traceback


def test_only_the_users_lines_stand_before_the_words() -> None:
    def mine() -> None:
        create_trainer(learning_rat=1)

    with pytest.raises(ConfigError) as caught:
        mine()
    caught.value.add_note("a note\nof two lines")
    lines = caught.value._render_traceback_()
    assert [line.strip() for line in lines if not line.lstrip().startswith("File")][:2] == [
        "mine()",
        "create_trainer(learning_rat=1)",
    ]
    assert lines[-3].startswith("ConfigError: learning_rat: expected")
    assert lines[-2:] == ["a note", "of two lines"]
    assert not [line for line in lines if "core/stepbus" in line]


def test_every_problem_has_a_line() -> None:
    error = ConfigError([Problem("a", "expected x"), Problem("b", "expected y")])
    assert short_traceback(error) == ["ConfigError: a: expected x", "b: expected y"]  # never raised


def test_what_is_no_input_of_the_user_keeps_its_whole_traceback() -> None:
    assert hasattr(BadInput("x"), "_render_traceback_")
    assert hasattr(Interrupted("x", 2), "_render_traceback_")
    assert not hasattr(PluginFailure("x"), "_render_traceback_")
