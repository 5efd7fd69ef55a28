"""Where something was raised: the innermost line of the code that was called, and none of core's."""

from __future__ import annotations

import json
import types
from collections.abc import Callable
from typing import Any

import pytest

from stepbus.base.guards.places import raised_at


def module(name: str, source: str, **names: Any) -> Any:
    """Return a module as an import would make it of a file NAME.py."""
    made = types.ModuleType(name)
    vars(made).update(names)
    exec(compile(source, f"/place/{name}.py", "exec"), vars(made))
    return made


def place(call: Callable[[], Any]) -> str:
    with pytest.raises(Exception) as caught:
        core.run(call)
    error = caught.value
    assert error.__traceback__ is not None
    return raised_at(error.with_traceback(error.__traceback__.tb_next))  # without this file's own frame


core = module("stepbus.somewhere", "def run(call):\n    return call()\n")
other = module("pandas", "def fails(call=None):\n    if call:\n        call()\n    raise KeyError('x')\n")
mine = module(
    "mine",
    "def direct():\n    return {}['x']\n\n\ndef through():\n    return other.fails()\n\n\n"
    "def back():\n    other.fails(direct)\n\n\ndef wrong():\n    return (lambda a: a)()\n\n\n"
    "def text():\n    return json.loads('{')\n\n\ndef inner():\n    return run(direct)\n",
    other=other,
    json=json,
    run=core.run,
)


@pytest.mark.parametrize(
    ("name", "line"), [("direct", 2), ("through", 6), ("back", 2), ("wrong", 14), ("text", 18), ("inner", 2)]
)
def test_the_innermost_line_of_the_plugin(name: str, line: int) -> None:
    assert place(getattr(mine, name)) == f", at /place/mine.py:{line}"


def test_all_files_of_a_package_are_its_own() -> None:
    deep = module("pack.deep", "def fails():\n    raise KeyError\n")
    top = module("pack.top", "def enter():\n    deep.fails()\n", deep=deep)
    assert place(top.enter) == ", at /place/pack.deep.py:2"


@pytest.mark.parametrize("call", [lambda: None, "no function", core.run])
def test_what_core_raised_itself_has_no_place(call: Any) -> None:
    fails = module("stepbus", "def fails():\n    raise KeyError\n").fails
    assert place(fails if callable(call) else call) == ""
