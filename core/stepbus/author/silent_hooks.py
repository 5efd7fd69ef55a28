"""Hooks that forget to give what they are for: None leaves everything as it was, without a word in any run."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from stepbus.kernel import RESULTS

# Hooks that are there for what they give. A model may well be changed in place, names of parameters be only looked at.
_GIVING = frozenset(
    {
        "phases", "parameter_groups", "wrap_loss", "wrap_gradient", "transform_gradients",
        "after_update", "training_step", "transform_export", "export_files",
    }
)  # fmt: skip


def silent_problem(hook: str, function: Callable[..., Any]) -> str:
    """Return what is wrong with a hook whose code has no `return` of anything; "" where it has one.

    Args:
        hook: The hook.
        function: Its implementation.
    """
    if hook not in _GIVING:
        return ""
    try:
        (made,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    except (OSError, TypeError, SyntaxError, ValueError):  # a lambda, or there is no source
        return ""
    # Of a file that has changed meanwhile it is some other code.
    if not isinstance(made, ast.FunctionDef) or made.name != function.__name__ or not any(map(_does, made.body)):
        return ""
    own = list(_own(made.body))
    if any(isinstance(each, ast.Raise | ast.Yield | ast.YieldFrom) for each in own):
        return ""
    returned = [each.value for each in own if isinstance(each, ast.Return)]
    if any(value is not None and not (isinstance(value, ast.Constant) and value.value is None) for value in returned):
        return ""
    return f"{hook} returns nothing, and so changes nothing: expected {RESULTS[hook][1]} from it; end it with return"


def _does(statement: ast.stmt) -> bool:
    """Return whether a statement does something: a text, `...` and `pass` are those of an empty method."""
    nothing = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return not (nothing or isinstance(statement, ast.Pass))


def _own(nodes: list[Any]) -> Iterator[ast.AST]:
    """Yield what a function consists of, without the functions and classes that it makes."""
    for node in nodes:
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            yield from _own(list(ast.iter_child_nodes(node)))
