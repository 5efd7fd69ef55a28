"""What plugins read of a session, a run and a plan is documented in one place, and assigned in one."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import stepbus_plugins
from stepbus.compute import ParameterUpdater
from stepbus.fit import FitSession
from stepbus.fit.builder import Fitting
from stepbus.kernel import protocols
from stepbus.run import Run
from stepbus.run.plans.plan import Plan

CORE = Path(inspect.getfile(FitSession)).parents[1]
PLUGINS = Path(next(iter(stepbus_plugins.__path__)))
SESSION_NAMES = ("session", "trainer")


def trees(folder: Path) -> Iterator[tuple[str, ast.Module]]:
    for file in sorted(folder.rglob("*.py")):
        yield file.relative_to(folder).as_posix(), ast.parse(file.read_text())


def members(protocol: type) -> set[str]:
    """Return what a protocol has, with what it inherits."""
    found: set[str] = set()
    for cls in protocol.__mro__[:-1]:
        found |= {name for name in (*vars(cls), *inspect.get_annotations(cls)) if not name.startswith("_")}
    return found


def reads(tree: ast.Module, names: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """Yield each attribute that is read of a variable, or of an attribute, of one of these names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            of = node.value
            name = of.id if isinstance(of, ast.Name) else of.attr if isinstance(of, ast.Attribute) else ""
            if name in names:
                yield node.attr, node.lineno
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
            of = node.args[0]
            if isinstance(of, ast.Name) and of.id in names and isinstance(node.args[1], ast.Constant):
                yield str(node.args[1].value), node.lineno


@pytest.mark.parametrize(
    ("names", "protocol"),
    [(SESSION_NAMES, protocols.Session), (("run",), protocols.Run), (("plan",), protocols.Plan)],
    ids=["session", "run", "plan"],
)
def test_what_plugins_read_is_documented(names: tuple[str, ...], protocol: type) -> None:
    found = {(file, name) for file, tree in trees(PLUGINS) for name, _ in reads(tree, names)}
    assert len(found) >= 5
    assert sorted(each for each in found if each[1] not in members(protocol)) == []


@pytest.mark.parametrize("protocol", [protocols.Session, Fitting, protocols.Run, protocols.Plan])
def test_every_attribute_of_a_protocol_has_words(protocol: Any) -> None:
    """In the docstring of its class, in its own, or beside it on its line."""
    own = inspect.get_annotations(protocol)
    listed, source = protocol.__doc__.partition("Attributes:")[2], inspect.getsource(protocol)
    beside = set(re.findall(r"^    (?:def )?(\w+)(?:\(self\) ->|:) [^#\n]+  # \w", source, re.MULTILINE))
    assert own
    for name in own:
        assert f"\n        {name}: " in listed or name in beside, name
    for name in set(vars(protocol)) - set(own):
        if not name.startswith("_"):
            value = vars(protocol)[name]
            assert (value.fget if isinstance(value, property) else value).__doc__ or name in beside, name


@pytest.mark.parametrize(
    ("cls", "protocols_of_it"),
    [(FitSession, [Fitting]), (Run, [protocols.Run]), (Plan, [protocols.Plan])],
)
def test_what_is_documented_is_there(cls: type, protocols_of_it: list[type]) -> None:
    source = ast.parse(inspect.getsource(cls).lstrip())
    own = members(cls)
    own |= {name for name, _ in assigned(source, ("self",))}
    for protocol in protocols_of_it:
        assert sorted(members(protocol) - own) == []


def assigned(tree: ast.AST, names: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """Yield each attribute of a variable of one of these names that is assigned, added to, deleted or set by name."""
    for node in ast.walk(tree):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign | ast.Delete):
            targets = list(node.targets)
        elif isinstance(node, ast.AnnAssign | ast.AugAssign | ast.For | ast.NamedExpr):
            targets = [node.target]
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            targets = [node.optional_vars]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("setattr", "delattr"):
            of = node.args[0]
            if isinstance(of, ast.Name) and of.id in names:
                yield ast.unparse(node.args[1]), node.lineno
        while targets:
            target = targets.pop()
            if isinstance(target, ast.Tuple | ast.List):
                targets += target.elts
            elif isinstance(target, ast.Starred):
                targets.append(target.value)
            elif isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id in names:
                yield target.attr, target.lineno


def test_a_session_is_assigned_in_one_place() -> None:
    found = {(file, name) for file, tree in trees(CORE) for name, _ in assigned(tree, SESSION_NAMES)}
    # A trainer that users hold is no session; its own constructors name it so.
    outside = {each for each in found if not each[0].startswith(("fit/", "api/trainer.py"))}
    assert sorted(outside) == []
    declared = set(inspect.get_annotations(Fitting))
    inside = {each for each in found if each[0].startswith("fit/")}
    assert {name for _, name in inside} <= declared
    assert {file for file, _ in inside} <= {
        "fit/best_weights.py",
        "fit/checkpointing/serving.py",
        "fit/computing/making.py",
        "fit/ending.py",
        "fit/exporting/unwrapping.py",
        "fit/saving/by_hand.py",
        "fit/using/averaging.py",
    }
    # What is assigned by the session itself is all that it has: nobody hangs something on it.
    own = ast.parse(inspect.getsource(FitSession))
    known = {name for name, _ in assigned(own, ("self",))} | set(inspect.get_annotations(FitSession))
    assert {name for _, name in inside} <= known


def test_plugins_assign_nothing_but_the_rate() -> None:
    found = {name for _, tree in trees(PLUGINS) for name, _ in assigned(tree, (*SESSION_NAMES, "run", "plan"))}
    assert found == set()
    assert "learning_rate" in {name for name, _ in assigned(ast.parse(inspect.getsource(ParameterUpdater)), ("self",))}


def test_the_search_finds_what_it_is_for() -> None:
    text = """
def hook(trainer, run):
    trainer.a, (trainer.b, *trainer.c) = 1, (2, 3)
    trainer.d += 1
    trainer.e: int = 1
    del trainer.f
    setattr(trainer, "g", 1)
    for trainer.h in (): pass
    with open() as trainer.i: pass
    trainer.state.j = 1
    getattr(trainer, "k", None)
    self.run.l()
"""
    tree = ast.parse(text)
    assert {name for name, _ in assigned(tree, ("trainer",))} == {*"abcdefhi", "'g'"}
    assert {"k", "state"} <= {name for name, _ in reads(tree, ("trainer",))}
    assert {name for name, _ in reads(tree, ("run",))} == {"l"}
