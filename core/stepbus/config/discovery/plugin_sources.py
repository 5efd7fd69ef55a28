"""What the source of an installed plugin says: parsed, never imported."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Collection
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from stepbus.base import reader_problem


def find_module(value: str) -> ModuleSpec | None:
    """Return where the module of "module:Class" is, or None where there is none; nothing is imported."""
    first, *rest = value.partition(":")[0].split(".")
    try:
        # Editable installs may have a finder of their own, which only the top package needs.
        spec = importlib.util.find_spec(first)
        for depth in range(len(rest)):
            path = list(spec.submodule_search_locations or ()) if spec is not None else []
            spec = PathFinder.find_spec(".".join([first, *rest[: depth + 1]]), path)
    except (ImportError, ValueError):
        return None
    return spec


def source_file(value: str) -> Path | None:
    """Return the file that "module:Class" or "file.py:Class" is written in, importing nothing."""
    place = value.rpartition(":")[0]
    if place.endswith(".py"):
        return Path(place)
    spec = find_module(value)
    return Path(spec.origin) if spec is not None and spec.origin else None


def purpose(value: str) -> str:
    """Return the first docstring line of "module:Class", parsed and never imported."""
    found = _class_node(value)
    return "" if found is None else (ast.get_docstring(found) or "").partition("\n")[0]


def may_offer_components(value: str, *, beside: Collection[str] = ()) -> bool:
    """Say whether "module:Class" may offer components, as far as its source tells; nothing is imported.

    A class that neither names `components` nor inherits from one that could is known to offer none.

    Args:
        value: Where the class is.
        beside: Kinds that do not count.
    """
    found = _class_node(value)
    if found is None or found.bases or found.decorator_list or found.keywords:
        return True
    return any(part is None or part[0] not in beside for part in _components(found))


def may_implement(value: str, hooks: Collection[str]) -> bool:
    """Say whether "module:Class" may implement one of some hooks, as far as its source tells; nothing is imported.

    Args:
        value: Where the class is.
        hooks: Names of hooks.
    """
    found = _class_node(value)
    if found is None or found.bases or found.decorator_list or found.keywords:
        return True
    return any(getattr(statement, "name", "") in hooks for statement in found.body)


def components_in(value: str) -> list[tuple[str, str]]:
    """Return (kind, name) of each component that the source of "module:Class" offers in so many words."""
    found = _class_node(value)
    return [] if found is None else [part for part in _components(found) if part is not None and part[1]]


def sources_in(value: str) -> list[str]:
    """Return the endings and schemes (".ini", "ini:") that the source of "module:Class" says its readers read."""
    cls = _class_node(value)
    claims: list[str] = []
    for call in ast.walk(cls) if cls is not None else ():
        part = _component(call) if isinstance(call, ast.expr) else None
        if not isinstance(call, ast.Call) or part is None or part[0] != "reader":
            continue
        given = [*call.args[4:5], *(word.value for word in call.keywords if word.arg == "metadata")]
        try:
            facts = ast.literal_eval(given[0]) if given else {}
        except ValueError:  # they are not written out
            continue
        if isinstance(facts, dict) and not reader_problem(facts):
            claims += [*facts.get("suffixes", ()), *(f"{scheme}:" for scheme in facts.get("schemes", ()))]
    return claims


def _components(cls: ast.ClassDef) -> list[tuple[str, str] | None]:
    """Return (kind, name) of each item of a class's `components`; None for one that is not written out."""
    parts = [part for statement in cls.body if (part := _assigned(statement, "components")) is not None]
    return [_component(item) for part in parts for item in (part.elts if isinstance(part, _LISTS) else [part])]


_LISTS = (ast.List, ast.Tuple)


def _component(node: ast.expr) -> tuple[str, str] | None:
    """Return what `Component("kind", "name", …)` offers, or `Metric.component("name", …)`; None for anything else."""
    if not isinstance(node, ast.Call):
        return None
    called = getattr(node.func, "id", getattr(node.func, "attr", ""))
    by_word = {word.arg: word.value for word in node.keywords}
    words = [*node.args, *(by_word.get(name) for name in ("kind", "name")[len(node.args) :])]
    kind, name = (_text(word) for word in words[:2]) if called == "Component" else ("metric", _text(words[0]))
    return (kind, name) if called in ("Component", "component") and kind else None


def _text(node: ast.expr | None) -> str:
    """Return a text that is written out, or "" for anything else."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _assigned(statement: ast.stmt, name: str) -> ast.expr | None:
    """Return what a statement assigns to a name, or None."""
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    if isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    return statement.value if any(getattr(target, "id", "") == name for target in targets) else None  # type: ignore[attr-defined]


def _class_node(value: str) -> ast.ClassDef | None:
    file = source_file(value)
    wanted = value.rpartition(":")[2]
    if file is None or not file.is_file():
        return None
    # A folder's __init__ may only pass the class on; then its own modules are asked.
    for candidate in (file, *sorted(file.parent.glob("*.py") if file.name == "__init__.py" else ())):
        try:
            body = ast.parse(candidate.read_text(encoding="utf-8")).body
        except (SyntaxError, ValueError, OSError):
            continue  # one that cannot be read has nothing to tell; `plugins doctor` says why
        for node in body:
            if isinstance(node, ast.ClassDef) and node.name == wanted:
                return node
    return None
