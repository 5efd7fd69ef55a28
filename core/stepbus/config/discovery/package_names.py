"""Names that installed packages add to `stepbus`, so that `from stepbus import NAME` has them; none is imported before.

A name of stepbus's own goes before one of a package, whatever that offers. A type checker takes a package's name as
Any: what it is, is known once it is asked for.
"""

from __future__ import annotations

import importlib
import keyword
import pkgutil
import sys
from collections.abc import Sequence
from typing import Any

from stepbus.base import PluginError, did_you_mean, error_words
from stepbus.config.discovery.entry_points import OURS, Entry, entries

GROUP = "stepbus.names"


# What the original had and nobody here offers: what to say of it.
GONE = {"MLXTrainer": "there is no such module or class here; create_trainer(model, config=…) makes a trainer"}


class UnusableName(PluginError, ImportError):
    """A name that a package offers and that cannot be had, which is no reason to say that it is not there."""


def find(name: str) -> Any:
    """Return what a package offers by a name, imported.

    Args:
        name: A name that stepbus itself has not.

    Raises:
        AttributeError: Nobody offers it.
        UnusableName: Two packages offer it, or it cannot be imported.
    """
    offers = [] if name.startswith("_") else _offered().get(name, [])
    if not offers:
        raise _unknown(name)
    if len(offers) > 1:
        raise UnusableName(_offered_twice(name, offers))
    (entry,) = offers
    try:
        return target(entry.value)
    except (Exception, SystemExit) as error:  # a module that exits must not do so in silence
        reason = str(error) if isinstance(error, PluginError) else error_words(error)
        raise UnusableName(
            f"stepbus.{name} of {_owner(entry)} cannot be imported from {entry.value}: {reason}; upgrade the package, "
            "or uninstall it"
        ) from error


def target(value: str) -> Any:
    """Import what an entry point says.

    Args:
        value: "module:attribute".

    Raises:
        PluginError: It is written otherwise, or the module has no such attribute.
    """
    from stepbus.device import before_mlx  # noqa: F401  # a package may import MLX

    module_name, _, attribute = value.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), attribute)):
        raise PluginError("expected an entry point module:attribute")
    module = importlib.import_module(module_name)
    if not hasattr(module, attribute):
        raise PluginError(f"the module {module_name} has no {attribute!r}{did_you_mean(attribute, dir(module))}")
    return getattr(module, attribute)


def names() -> list[str]:
    """Return the names that packages add and one package alone offers, sorted; nothing is imported."""
    return sorted(name for name, offers in _offered().items() if len(offers) == 1)


def listing() -> str:
    """Return which names packages add, as one line, or "" where there are none; nothing is imported."""
    said = [f"{name} ({_owner(_offered()[name][0])})" for name in names()]
    return f"names of installed packages, from stepbus import …: {', '.join(said)}" if said else ""


def name_problems() -> list[str]:
    """Return a sentence for each name that cannot be had though a package offers it; nothing is imported."""
    own, problems = _own(), []
    for entry in entries(GROUP):
        said = f"the name {entry.name} of {_owner(entry)}"
        if entry.name in own:
            problems.append(f"{said} is hidden by stepbus's own; it needs another name")
        elif not _possible(entry.name):
            problems.append(f"{said}: expected a name of Python that does not begin with _; it needs another name")
        elif entry not in _offered()[entry.name]:
            problems.append(f"{said} is hidden by that of a built-in plugin; it needs another name")
    return problems + [_offered_twice(name, offers) for name, offers in _offered().items() if len(offers) > 1]


def _offered() -> dict[str, list[Entry]]:
    """Return each name that packages add, with those who offer it; stepbus's own plugins go first."""
    own, found = _own(), dict[str, list[Entry]]()
    for entry in entries(GROUP):
        if _possible(entry.name) and entry.name not in own:
            found.setdefault(entry.name, []).append(entry)
    return {name: [each for each in offers if each.distribution == OURS] or offers for name, offers in found.items()}


def _possible(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name) and not name.startswith("_")


def _own() -> set[str]:
    """Return what `stepbus` has itself: its public names, and the packages inside it."""
    root = sys.modules["stepbus"]
    return {*root.__all__, *(module.name for module in pkgutil.iter_modules(root.__path__))}


def _unknown(name: str) -> Exception:
    """Return what to raise for a name that nobody has: in `from stepbus import NAME` an ImportError says what is meant.

    Python itself replaces an AttributeError there by its own words, which before 3.12 know no other name.
    """
    own = _own()
    near = "" if name.startswith("_") else did_you_mean(name, [*own, *names()])
    if name in own:
        near = f"; write import stepbus.{name}"
    elif name in GONE:
        near = f"; {GONE[name]}"
    asking = sys._getframe(2).f_back  # who asked the root's __getattr__, which asked find
    if near and name not in own and asking is not None and asking.f_code.co_name == "_handle_fromlist":
        return ImportError(f"cannot import name {name!r} from 'stepbus'{near}", name="stepbus")
    # Told of the module, Python would suggest the same once more.
    return AttributeError(f"module 'stepbus' has no attribute {name!r}{near}", name=name, obj=None)


def _offered_twice(name: str, offers: Sequence[Entry]) -> str:
    owners = " and ".join(sorted(_owner(entry) for entry in offers))
    return f"stepbus.{name} is offered by {owners}; uninstall one of them, or import it from the package itself"


def _owner(entry: Entry) -> str:
    return f"{entry.distribution} {entry.version}"
