"""Who made a part: sentences, and errors of its code."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from stepbus.base.errors import ModelError, PluginError, PluginFailure
from stepbus.base.guards.given import GivenFunction, GivenMapping, signed
from stepbus.base.guards.makers import Maker

MINE = Maker("the optimizer 'mine'", "my_pack, my-pack 1.0", "pick another one")


def test_a_sentence_names_part_mend_and_provider() -> None:
    expected = "the optimizer 'mine': expected 1, got 2; pick another one (my_pack, my-pack 1.0)"
    assert MINE.sentence("expected 1, got 2") == str(MINE.fault("expected 1, got 2")) == expected
    assert Maker("the head 'x'").sentence("no") == "the head 'x': no"


@pytest.mark.parametrize("error", [ZeroDivisionError("of the sample"), SystemExit("done"), GeneratorExit()])
def test_what_its_code_raises_is_a_sentence(error: BaseException) -> None:
    said = f"{type(error).__name__}: {error}".removesuffix(": ")
    words = rf"^the optimizer 'mine': update raised {said}, at {__file__}:\d+; pick another one "
    with pytest.raises(PluginFailure, match=words), MINE.calling("update"):
        raise error
    with pytest.raises(ModelError), MINE.calling("update", ModelError):
        sys.exit(0)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), PluginError("said on purpose")])
def test_what_is_the_users_or_was_said_keeps_its_words(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, MINE.calling("update"):
        raise error
    assert caught.value is error


def test_what_is_used_later_says_whom_it_is_from() -> None:
    def function(given: Any) -> Any:
        return given

    for value, kind in ((function, GivenFunction), ({"a": {}}, GivenMapping)):
        hook = "transform_gradients" if callable(value) else "parameter_groups"
        found = signed(hook, lambda value=value: value, MINE)()
        assert isinstance(found, kind)
        assert found.maker is MINE
    assert signed("transform_gradients", lambda: function, MINE)()(3) == 3
    assert signed("parameter_groups", lambda: None, MINE)() is None
    assert signed("on_log", function, MINE) is function


def test_a_wrapper_signs_what_it_put_in_place_of_others() -> None:
    others = signed("parameter_groups", lambda: {"a": {}}, Maker("others"))()
    results, raised = signed("parameter_groups", lambda: ([others, {"b": {}}, None], None), MINE, around=True)()
    assert raised is None
    assert [each and each.maker for each in results] == [others.maker, MINE, None]
    assert signed("parameter_groups", lambda: (None, ValueError()), MINE, around=True)()[0] is None


@pytest.mark.parametrize("words", ["[eval] Attempting to eval an array", "[async_eval] Not allowed inside a graph"])
def test_who_wants_a_value_in_a_compiled_step_hears_what_to_do(words: str) -> None:
    with pytest.raises(PluginFailure) as caught, MINE.calling("update"):
        raise ValueError(words)
    said = str(caught.value)
    assert f"update reads the value of an array at {__file__}:" in said
    assert "(print, item, float, if, a text with it)" in said
    assert "mx.where in place of if" in said
    with pytest.raises(PluginFailure, match=r"update raised ValueError: of \[eval\]"), MINE.calling("update"):
        raise ValueError("of [eval]")
