"""The layout of core: sizes, what a package shows of itself, and how one package imports from another."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

CORE = Path(__file__).parents[2] / "core" / "stepbus"
FILE_LINES = 300
PACKAGE_LINES = 1850  # each folder by itself
KERNEL_LINES = 1200  # beside events.py, whose text is the hook reference
# What the world outside core imports: its names need no user inside.
FOR_AUTHORS = "stepbus.testing"
# Where a name of stepbus's own may be imported by text: the two tables of lazy names, and the command that was typed.
BY_TEXT = {"stepbus", "stepbus.base.lazy", "stepbus.cli.main"}


@frozen
class Module:
    """One source file.

    Args:
        name: Its dotted name.
        package: That of the package it lies in; a package's own for its __init__.py.
        path: The file.
        tree: What it says.
    """

    name: str
    package: str
    path: Path
    tree: ast.Module

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"


@frozen
class Import:
    """One imported name, `from SOURCE import NAME`; `import SOURCE` has no name."""

    line: int
    source: str
    name: str = ""


def modules(core: Path) -> dict[str, Module]:
    """Read the sources of a folder `stepbus`, by dotted name."""
    found = {}
    for path in sorted(core.rglob("*.py")):
        folder = ".".join(("stepbus", *path.parent.relative_to(core).parts))
        name = folder if path.name == "__init__.py" else f"{folder}.{path.stem}"
        found[name] = Module(name, folder, path, ast.parse(path.read_text(encoding="utf-8")))
    return found


def imports(module: Module) -> Iterator[Import]:
    """Yield every import of stepbus's own names, those inside functions too."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            pairs = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = module.package.split(".")[: len(module.package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            pairs = [(source, alias.name) for alias in node.names]
        else:
            continue
        yield from (Import(node.lineno, source, name) for source, name in pairs if source.split(".")[0] == "stepbus")


def shown_names(module: Module) -> dict[str, str]:
    """Return what a package's imports for type checkers re-export: name -> its module."""
    return {each.name: each.source for each in imports(module) if each.name != "lazily"}


def lazy_names(module: Module) -> dict[str, str]:
    """Return what a package's call of `lazily` re-exports: name -> its module."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "lazily":
            tables = {word.arg: ast.literal_eval(word.value) for word in node.keywords}
            return {name: f"{module.name}.{home}" for home, names in tables.items() for name in names.split()}
    return {}


def packages(core: Path) -> list[Module]:
    """Return the packages below a folder `stepbus`."""
    return [each for each in modules(core).values() if each.is_package and each.name != "stepbus"]


def too_long(core: Path) -> list[str]:
    """Files, packages and the kernel that are longer than they may be."""
    found, sums = [], dict.fromkeys((each.package for each in modules(core).values()), 0)
    for module in modules(core).values():
        lines = len(module.path.read_text(encoding="utf-8").splitlines())
        sums[module.package] += lines
        if module.name == "stepbus.kernel.events":
            sums["stepbus.kernel beside events.py"] = -lines
        elif lines > FILE_LINES:
            found.append(f"{module.name} has {lines} lines")
    if "stepbus.kernel beside events.py" in sums:
        sums["stepbus.kernel beside events.py"] += sums["stepbus.kernel"]
    for name, lines in sums.items():
        if lines > (KERNEL_LINES if name.endswith("events.py") else PACKAGE_LINES):
            found.append(f"{name} has {lines} lines")
    return found


def loose(core: Path) -> list[str]:
    """Modules beside the root's __init__.py, and folders with sources that are no packages."""
    known = modules(core)
    found = [each.name for each in known.values() if each.package == "stepbus" and not each.is_package]
    return found + sorted({each.package for each in known.values()} - known.keys())


def not_said_in_a_sentence(core: Path) -> list[str]:
    """Packages whose docstring is not one sentence; the tutorial of the kit may follow its own."""
    found = []
    for package in packages(core):
        said = ast.get_docstring(package.tree) or ""
        if package.name == FOR_AUTHORS:
            said = said.partition("\n\n")[0]
        if not said.endswith(".") or ". " in said or "\n\n" in said:
            found.append(package.name)
    return found


def tables_that_differ(core: Path) -> list[str]:
    """Packages whose two tables of names are not the same."""
    return [each.name for each in packages(core) if shown_names(each) != lazy_names(each)]


def used_by_nobody(core: Path) -> list[str]:
    """Names that a package re-exports and no other package imports."""
    used = {
        (each.source, each.name)
        for module in modules(core).values()
        for each in imports(module)
        if module.package != each.source
    }
    return [
        f"{package.name}.{name}"
        for package in packages(core)
        if package.name != FOR_AUTHORS
        for name in lazy_names(package)
        if (package.name, name) not in used
    ]


def astray(core: Path) -> list[str]:
    """Imports that go past another package's __init__.py, or through that of their own."""
    known, found = modules(core), []
    for module in known.values():
        if module.name == "stepbus":
            continue
        for each in imports(module):
            place = f"{module.name}:{each.line} imports {each.source} {each.name}".rstrip()
            target = known.get(f"{each.source}.{each.name}") or known.get(each.source)
            if each == Import(each.line, "stepbus.base.lazy", "lazily") and module.is_package:
                continue  # from the package itself it would be a circle
            if target is None or each.source == "stepbus":
                found.append(f"{place}: there is no such place, or it is the root")
            elif module.is_package and each.source.startswith(f"{module.name}."):
                continue  # its table for type checkers
            elif target.package == module.package and target.is_package:
                found.append(f"{place}: inside a package, import the module")
            elif target.package != module.package and each.name and not known[each.source].is_package:
                found.append(f"{place}: between packages, import from the package")
    return found


def by_text(core: Path) -> list[str]:
    """Imports of stepbus's own names by text, which no import contract sees."""
    found = []
    for module in modules(core).values():
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.Call) or not node.args or module.name in BY_TEXT:
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            words = ast.unparse(node.args[0])
            own = "stepbus." in words or words == "'stepbus'" or "__name__" in words or "__package__" in words
            if called in ("import_module", "__import__") and own:
                found.append(f"{module.name}:{node.lineno}")
    return found


def hidden_names(core: Path) -> list[str]:
    """Re-exported names that are also modules: the first import of the module would replace the name."""
    known = modules(core)
    return [
        f"{package.name}.{name}"
        for package in packages(core)
        for name in lazy_names(package)
        if f"{package.name}.{name}" in known
    ]
