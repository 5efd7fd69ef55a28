"""The layout of core: sizes, what a package shows of itself, and how one package imports from another."""

from __future__ import annotations

import ast
import functools
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import frozen

CORE = Path(__file__).parents[2] / "core" / "stepbus"
FILE_LINES = 300
PACKAGE_LINES = 1850  # each folder by itself
KERNEL_LINES = 1450  # beside events.py, whose text is the hook reference
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


@functools.cache
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


def shown_names(module: Module) -> list[tuple[str, str]]:
    """Return what a package's imports for type checkers re-export: names and their modules."""
    return [(each.name, each.source) for each in imports(module) if each.name != "lazily"]


def lazy_names(module: Module) -> list[tuple[str, str]]:
    """Return what a package's call of `lazily` re-exports: names and their modules."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "lazily":
            tables = {word.arg: ast.literal_eval(word.value) for word in node.keywords}
            return [(name, f"{module.name}.{home}") for home, names in tables.items() for name in names.split()]
    return []


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
        sums["stepbus.kernel beside events.py"] += sums.pop("stepbus.kernel")
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
    return [each.name for each in packages(core) if sorted(shown_names(each)) != sorted(lazy_names(each))]


def used(core: Path) -> Iterator[tuple[str, str]]:
    """Yield the package and the name of everything that another package imports, or reads of a package it imports."""
    known = modules(core)
    for module in known.values():
        whole = {}
        for each in imports(module):
            if module.package != each.source:
                yield each.source, each.name
            if (package := known.get(f"{each.source}.{each.name}")) and package.is_package:
                whole[each.name] = package.name
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in whole:
                yield whole[node.value.id], node.attr


def used_by_nobody(core: Path) -> list[str]:
    """Names that a package re-exports and no other package uses."""
    wanted = set(used(core))
    return [
        f"{package.name}.{name}"
        for package in packages(core)
        if package.name != FOR_AUTHORS
        for name, _ in lazy_names(package)
        if (package.name, name) not in wanted
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
        for name, _ in lazy_names(package)
        if f"{package.name}.{name}" in known
    ]


CHECKS = [too_long, loose, not_said_in_a_sentence, tables_that_differ, used_by_nobody, astray, by_text, hidden_names]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_layout(check: Callable[[Path], list[str]]) -> None:
    assert check(CORE) == []


def test_the_sources_are_seen() -> None:
    assert {"stepbus.kernel", "stepbus.text.rows", "stepbus.cli.commands"} <= {each.name for each in packages(CORE)}
    assert ("Bus", "stepbus.kernel.bus") in lazy_names(modules(CORE)["stepbus.kernel"])
    assert len(set(used(CORE))) > 300


def test_the_two_tables_of_the_root_agree() -> None:
    import stepbus

    named = {name: f"stepbus.{home}" for name, home in vars(stepbus)["_HOME"].items()}
    assert dict(shown_names(modules(CORE)["stepbus"])) == named
    assert named.keys() == set(stepbus.__all__) <= set(dir(stepbus))
    for name, home in named.items():
        assert getattr(stepbus, name) is vars(importlib.import_module(home))[name]


def names_of_packages() -> list[tuple[str, str, str]]:
    return [(package.name, *pair) for package in packages(CORE) for pair in lazy_names(package)]


@pytest.mark.parametrize("package", sorted({package for package, *_ in names_of_packages()}))
def test_every_name_of_a_package_resolves(package: str) -> None:
    shown = importlib.import_module(package)
    homes = {name: home for owner, name, home in names_of_packages() if owner == package}
    assert sorted(homes) == shown.__all__ == dir(shown)
    for name, home in homes.items():
        assert getattr(shown, name) is getattr(importlib.import_module(home), name)


# Sources that lack nothing; each case below breaks one thing of them.
WHOLE = {
    "__init__.py": '"""The root."""\n',
    "low/__init__.py": '''"""What lies below."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.low.things import Thing as Thing
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(__name__, things="Thing")
''',
    "low/things.py": "class Thing:\n    pass\n",
    "low/others.py": "from stepbus.low.things import Thing\n",
    "high/__init__.py": '"""What lies above."""\n',
    "high/users.py": "import importlib\n\nfrom stepbus.low import Thing\n\nimportlib.import_module(Thing.module)\n",
    "base/__init__.py": '"""The base."""\n',
    "base/lazy.py": 'import importlib\n\n\ndef lazily(package):\n    importlib.import_module(f"{package}.x")\n',
    "kernel/__init__.py": '"""The loop."""\n',
    "kernel/events.py": "X = 1\n" * 400,
}
LOW = WHOLE["low/__init__.py"]


def made(folder: Path) -> Path:
    core = folder / "stepbus"
    for name, text in WHOLE.items():
        (core / name).parent.mkdir(parents=True, exist_ok=True)
        (core / name).write_text(text)
    return core


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_whole_sources_pass(check: Callable[[Path], list[str]], tmp_path: Path) -> None:
    assert check(made(tmp_path)) == []


@pytest.mark.parametrize(
    ("check", "file", "text", "told"),
    [
        (too_long, "low/things.py", "X = 1\n" * 301, ["stepbus.low.things has 301 lines"]),
        (loose, "helpers.py", "X = 1\n", ["stepbus.helpers"]),
        (loose, "folder/helpers.py", "X = 1\n", ["stepbus.folder"]),
        (not_said_in_a_sentence, "low/__init__.py", LOW.replace("below.", "below"), ["stepbus.low"]),
        (not_said_in_a_sentence, "low/__init__.py", LOW.replace("below.", "below. And more."), ["stepbus.low"]),
        (not_said_in_a_sentence, "low/__init__.py", LOW.partition("\n\n")[2], ["stepbus.low"]),
        (tables_that_differ, "low/__init__.py", LOW.replace('things="Thing"', 'others="Thing"'), ["stepbus.low"]),
        (tables_that_differ, "low/__init__.py", LOW.replace('="Thing"', '="Thing Other"'), ["stepbus.low"]),
        (tables_that_differ, "low/__init__.py", LOW.replace('="Thing"', '="Thing", more="Thing"'), ["stepbus.low"]),
        (used_by_nobody, "high/users.py", "", ["stepbus.low.Thing"]),
        (astray, "high/users.py", "from stepbus.low.things import Thing\n", ["between packages"]),
        (astray, "high/users.py", "def later():\n    from stepbus.low.things import Thing\n", ["between packages"]),
        (astray, "low/others.py", "from stepbus.low import Thing\n", ["inside a package"]),
        (astray, "low/others.py", "from . import Thing\n", ["inside a package"]),
        (astray, "low/others.py", "from stepbus import Thing\n", ["the root"]),
        (astray, "low/others.py", "import stepbus\n", ["the root"]),
        (astray, "low/others.py", "from stepbus.gone import Thing\n", ["no such place"]),
        (by_text, "low/others.py", "import_module('stepbus.high')\n", ["stepbus.low.others:1"]),
        (by_text, "low/others.py", "x.import_module(f'stepbus.{name}')\n", ["stepbus.low.others:1"]),
        (by_text, "low/others.py", "__import__(__package__ + name)\n", ["stepbus.low.others:1"]),
        (hidden_names, "low/Thing.py", "", ["stepbus.low.Thing"]),
    ],
)
def test_each_check_sees_its_fault(
    check: Callable[[Path], list[str]], file: str, text: str, told: list[str], tmp_path: Path
) -> None:
    core = made(tmp_path)
    (core / file).parent.mkdir(exist_ok=True)
    (core / file).write_text(text)
    found = check(core)
    assert len(found) == len(told)
    assert all(words in line for words, line in zip(told, found, strict=True))


def test_long_packages_and_a_long_kernel(tmp_path: Path) -> None:
    core = made(tmp_path)
    for number in range(7):
        (core / "low" / f"part{number}.py").write_text("X = 1\n" * 290)
    for number in range(5):
        (core / "kernel" / f"part{number}.py").write_text("X = 1\n" * (KERNEL_LINES // 5))
    assert too_long(core) == [
        "stepbus.low has 2043 lines",
        f"stepbus.kernel beside events.py has {KERNEL_LINES + 1} lines",
    ]
