"""Which plugins there are and which are switched on: read from metadata, source text and configurations."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from attrs import frozen

from stepbus.base import Problem, counted
from stepbus.base.trees import Node
from stepbus.config import Normaliser, merge, merge_all, read_defaults, read_layers
from stepbus.config.discovery import NAME, InstalledPlugin, find_module, plugins, purpose


@frozen
class Row:
    """A plugin as `plugins list` shows it.

    Args:
        name: Its name in YAML.
        status: enabled, installed (but not named), off (switched off), or broken.
        source: built-in, third-party or local; empty where nothing of that name is there.
        distribution: The package that brings it; several, where they claim one name.
        version: That package's version.
        value: Where its class is, "module:Class" or "file.py:Class".
        purpose: What it is for, in one line.
        enabled: Whether it is switched on; a broken one may be.
        problem: Why it is broken.
    """

    name: str
    status: str
    source: str = ""
    distribution: str = ""
    version: str = ""
    value: str = ""
    purpose: str = ""
    enabled: bool = False
    problem: str = ""


@frozen
class Named:
    """What a configuration says of one plugin.

    Args:
        on: False where it is switched off.
        use: The class it names itself, "module:Class" or "file.py:Class".
        folder: What a relative path in `use` starts from.
        problem: Why it could not be loaded, where that was tried.
    """

    on: bool
    use: str | None = None
    folder: Path | None = None
    problem: str = ""


def named(source: Any = None, *, load: bool = False) -> tuple[dict[str, Named], tuple[str, ...], list[Problem]]:
    """Read which plugins a configuration names; other problems of it do no harm.

    Args:
        source: A file, a preset's name, plain values, or None for the defaults alone.
        load: Import those that are switched on, so that their `expand` is heard too.

    Returns:
        Name -> what is said of it, in call order; the modules under `hooks`; the problems met on the way.

    Raises:
        ConfigError: The file itself cannot be read.
    """
    problems: list[Problem] = []
    layers, _ = read_layers(source, problems)
    normalise = Normaliser(plugins.installed(), problems)
    defaults = normalise(read_defaults())
    user = merge_all(map(normalise, layers))
    failed: dict[str, str] = {}
    if load:
        from stepbus.config import Plugins

        chosen = Plugins(plugins, normalise, problems)
        tree = chosen.expand(defaults, user)
        failed = {problem.path: problem.message for problem in problems}
    else:
        tree = merge(defaults, user)
    found = {
        name: _named(node, failed.get(f"plugins.{name}", "")) for name, node in tree.value["plugins"].value.items()
    }
    return found, tuple(tree.value["hooks"].plain()), problems


def _named(node: Node, problem: str) -> Named:
    if node.value is False:
        return Named(False)
    use = node.value.get("use")
    text = use.value if use is not None and isinstance(use.value, str) else None
    return Named(True, text, node.mark.folder, problem)


def inventory(chosen: Mapping[str, Named], installed: Mapping[str, InstalledPlugin] | None = None) -> list[Row]:
    """Return every plugin that is installed or named: first those switched on in call order, then the others.

    Args:
        chosen: What the configuration says, as `named` returns it.
        installed: The installed plugins; None asks for them.
    """
    known = plugins.installed() if installed is None else installed
    rows = [_row(name, said, known.get(name)) for name, said in chosen.items()]
    rows += [_row(name, None, known[name]) for name in sorted(known) if name not in chosen]
    return sorted(rows, key=lambda row: (not row.enabled, row.status != "off"))


def _row(name: str, said: Named | None, plugin: InstalledPlugin | None) -> Row:
    on = said is not None and said.on
    row = Row(name, "off" if said is not None else "installed", enabled=on)
    if said is not None and said.use is not None:
        row = attrs.evolve(row, source="local", value=said.use, purpose=purpose(said.use))
    elif plugin is not None:
        source = "built-in" if plugin.distribution == "stepbus" else "third-party"
        row = attrs.evolve(
            row, source=source, distribution=plugin.distribution, version=plugin.version, value=plugin.value,
            purpose=purpose(plugin.value),
        )  # fmt: skip
    problem = _problem(row, said, plugin)
    return attrs.evolve(row, status="broken" if problem else "enabled" if on else row.status, problem=problem)


def _problem(row: Row, said: Named | None, plugin: InstalledPlugin | None) -> str:
    """Return why a plugin cannot be used, as far as nothing need be imported for it."""
    if said is not None and not said.on and plugin is None:
        return ""  # switched off, and not there: nothing is wrong
    if not NAME.fullmatch(row.name):
        return f"expected a plugin name of small letters, digits and _, got {row.name!r}"
    if row.source != "local" and plugin is not None and plugin.rivals:
        offers = (plugin, *plugin.rivals)
        owners = ", ".join(f"{offer.distribution} {offer.version} ({offer.value})" for offer in offers)
        return f"offered twice: {owners}; say which with use: {plugin.value}"
    if said is not None and said.problem:
        return said.problem
    if row.value and not _is_there(row.value):
        return f"there is no module {row.value.rpartition(':')[0] or row.value}"
    return ""


def _is_there(value: str) -> bool:
    place = value.rpartition(":")[0]
    return Path(place).is_file() if place.endswith(".py") else find_module(value) is not None


def table(rows: Sequence[Row], width: int | None = None) -> str:
    """Return the rows as an aligned table, and below it what is broken and why.

    Args:
        rows: The plugins.
        width: Columns of the screen, at which a purpose is cut; None cuts nothing.
    """
    cells: list[tuple[str, ...]] = [("NAME", "STATUS", "SOURCE", "FROM", "PURPOSE")]
    cells += [(row.name, row.status, row.source, _owner(row), row.purpose) for row in rows]
    if width is not None and width < 100:
        # FROM tells the source too, and the purpose needs the room.
        cells = [(name, status, owner, purpose) for name, status, _, owner, purpose in cells]
    lines = aligned(cells, width)
    broken = [row for row in rows if row.problem]
    if broken:
        lines += ["", *(f"{row.name}: {row.problem}" for row in broken)]
    counts = {status: sum(row.status == status for row in rows) for status in ("enabled", "installed", "off", "broken")}
    said = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    return "\n".join([*lines, "", f"{counted(len(rows), 'plugin')}: {said or 'none'}"])


def aligned(rows: Iterable[Sequence[str]], width: int | None = None) -> list[str]:
    """Return rows of cells as lines with straight columns; the last column is cut at `width`."""
    cells = list(rows)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        line = "  ".join(f"{cell:<{size}}" for cell, size in zip(row, widths, strict=True)).rstrip()
        # Where the columns before leave no room for a few words, a long line is the lesser evil.
        if width is not None and len(line) > width and width - sum(widths[:-1]) - 2 * len(widths) > 15:
            line = line[: width - 1].rstrip() + "…"
        lines.append(line)
    return lines


def _owner(row: Row) -> str:
    if row.source == "local":
        file, colon, name = row.value.rpartition(":")
        return f"{os.path.relpath(file)}{colon}{name}" if file.endswith(".py") else row.value
    return f"{row.distribution} {row.version}".strip()


def requirements(rows: Iterable[Row], hooks: Iterable[str] = ()) -> list[str]:
    """Return the packages of what is switched on as lines of a requirements file; what is no package is a comment."""
    from stepbus.base import __version__

    packages, comments = {"stepbus": f"stepbus=={__version__}"}, []
    for row in rows:
        if not row.enabled:
            continue
        if row.source == "local":
            comments.append(f"# {row.name} is a class of your own: {_owner(row)}")
        elif not row.distribution or row.problem.startswith("offered twice"):
            comments.append(f"# {row.name}: {row.problem}")
        else:
            packages[row.distribution] = f"{row.distribution}=={row.version}"
    comments += [f"# hooks of your own: {os.path.relpath(hook) if hook.endswith('.py') else hook}" for hook in hooks]
    return [*packages.values(), *comments]
