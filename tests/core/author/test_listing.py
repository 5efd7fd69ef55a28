"""`plugins list`: what is installed, named, off or broken, and nothing imported for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepbus.author.listing import Named, Row, aligned, inventory, named, requirements, table
from stepbus.base.errors import ConfigError
from stepbus.config.discovery.plugins import InstalledPlugin, import_module

fakes = import_module(str(Path(__file__).parents[2] / "fixtures" / "distributions.py"))
History = "stepbus_plugins.history:History"


def installed(*plugins: InstalledPlugin) -> dict[str, InstalledPlugin]:
    return {plugin.name: plugin for plugin in plugins}


def statuses(rows: list[Row]) -> dict[str, str]:
    return {row.name: row.status for row in rows}


def test_without_a_configuration_the_visible_defaults_say_what_is_on() -> None:
    rows = inventory(named()[0])
    found = statuses(rows)
    assert (found["bert"], found["early_stopping"]) == ("enabled", "installed")
    assert rows[0].name == "bert", "call order first"
    assert {row.source for row in rows if row.distribution == "stepbus"} == {"built-in"}
    assert next(row.purpose for row in rows if row.name == "text_data") == "Read texts or sentence pairs from columns."


def test_every_status(tmp_path: Path) -> None:
    plugins = installed(
        InstalledPlugin("good", History, "good-pack", "1.0"),
        InstalledPlugin("dormant", History, "good-pack", "1.0"),
        InstalledPlugin("quiet", History, "good-pack", "1.0"),
        InstalledPlugin("lost", "no_such_module_at_all:Lost", "lost-pack", "2.0"),
        InstalledPlugin("Bad-Name", History, "bad-pack", "1.0"),
        InstalledPlugin("same", History, "a-pack", "1", (InstalledPlugin("same", "b:B", "b-pack", "2"),)),
        InstalledPlugin("failing", History, "fail-pack", "1.0"),
    )
    said = {
        "good": Named(True),
        "quiet": Named(False),
        "failing": Named(True, problem="cannot be imported: oh no"),
        "absent": Named(True, problem="no installed plugin is called 'absent'"),
        "gone": Named(False),
        "mine": Named(True, "stepbus_plugins.history:History"),
        "no_file": Named(True, f"{tmp_path}/absent.py:Mine"),
    }
    rows = inventory(said, plugins)
    assert statuses(rows) == {
        "good": "enabled", "failing": "broken", "absent": "broken", "mine": "enabled", "no_file": "broken",
        "quiet": "off", "gone": "off", "dormant": "installed", "lost": "broken", "Bad-Name": "broken", "same": "broken",
    }  # fmt: skip
    problems = {row.name: row.problem for row in rows}
    assert problems["same"] == (
        "offered twice: a-pack 1 (stepbus_plugins.history:History), b-pack 2 (b:B); "
        "say which with use: stepbus_plugins.history:History"
    )
    assert problems["lost"] == "there is no module no_such_module_at_all"
    assert problems["no_file"] == f"there is no module {tmp_path}/absent.py"
    assert problems["failing"] == "cannot be imported: oh no"
    assert "small letters" in problems["Bad-Name"]
    assert {row.name: row.source for row in rows if row.name in ("mine", "good")} == {
        "mine": "local",
        "good": "third-party",
    }


def test_a_local_class_has_its_purpose_and_its_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text('class Mine:\n    """Do mine."""\nraise SystemExit("imported")\n')
    (tmp_path / "run.yaml").write_text("plugins: {mine: {use: ./mine.py:Mine}, progress: false}\nhooks: ./hooks.py\n")
    said, hooks, problems = named(tmp_path / "run.yaml")
    assert not problems
    rows = {row.name: row for row in inventory(said)}
    assert rows["mine"] == Row(
        "mine", "enabled", "local", value=f"{tmp_path}/mine.py:Mine", purpose="Do mine.", enabled=True
    )
    assert rows["progress"].status == "off"
    lines = requirements(rows.values(), hooks)
    assert lines[0].startswith("stepbus==")
    assert [line.partition(": ")[0] for line in lines[1:]] == ["# mine is a class of your own", "# hooks of your own"]
    assert lines[1].endswith("mine.py:Mine")
    assert lines[2].endswith("hooks.py")


def test_loading_finds_what_cannot_be_imported_and_what_switches_others_on(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise SystemExit(3)\n")
    (tmp_path / "lead.py").write_text(
        "from stepbus import hookimpl\nclass Lead:\n    on_fit_start = hookimpl(lambda self: None)\n"
        "    @staticmethod\n    def expand(settings): return {'plugins': {'early_stopping': {}}}\n"
    )
    (tmp_path / "run.yaml").write_text(
        "plugins:\n  mine: {use: ./mine.py:Mine}\n  lead: {use: ./lead.py:Lead}\n  early_stoping: {}\n"
        "training: {num_epochs: three, unheard_of: 1}\n"
    )
    rows = {row.name: row for row in inventory(named(tmp_path / "run.yaml", load=True)[0])}
    assert rows["mine"].status == "broken"
    assert "SystemExit: 3" in rows["mine"].problem
    assert "did you mean 'early_stopping'?" in rows["early_stoping"].problem
    assert (rows["lead"].status, rows["early_stopping"].status) == ("enabled", "enabled")


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no file"):
        named(str(tmp_path / "absent.yaml"))


def test_the_table_is_straight_and_fits_the_screen() -> None:
    rows = [
        Row("a", "enabled", "built-in", "stepbus", "0.1.0", purpose="word " * 40),
        Row("much_longer_name", "broken", "third-party", "some-pack", "2.0", problem="why " * 40),
    ]
    lines = table(rows, 80).splitlines()
    assert all(len(line) <= 80 for line in lines[:3])
    assert lines[0].index("STATUS") == lines[1].index("enabled") == lines[2].index("broken")
    assert lines[1].endswith("…")
    assert f"much_longer_name: {'why ' * 40}" in lines
    assert lines[-1] == "2 plugins: 1 enabled, 1 broken"
    assert "SOURCE" not in lines[0]
    wide = table(rows).splitlines()
    assert wide[0].split() == ["NAME", "STATUS", "SOURCE", "FROM", "PURPOSE"]
    assert wide[1].endswith("word")


def test_a_line_that_has_no_room_is_left_long() -> None:
    assert aligned([("x" * 70, "some words")], 80) == ["x" * 70 + "  some words"]


def test_requirements_name_packages_once_and_say_what_is_none() -> None:
    rows = [
        Row("a", "enabled", "built-in", "stepbus", "0.1.0", enabled=True),
        Row("b", "enabled", "third-party", "two-pack", "1.5", enabled=True),
        Row("c", "broken", "third-party", "two-pack", "1.5", enabled=True, problem="cannot be imported"),
        Row("d", "installed", "third-party", "other-pack", "9"),
        Row("e", "broken", enabled=True, problem="no installed plugin is called 'e'"),
    ]
    assert requirements(rows, ["my_project.hooks"])[1:] == [
        "two-pack==1.5",
        "# e: no installed plugin is called 'e'",
        "# hooks of your own: my_project.hooks",
    ]


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """Two packages that offer one name, one that breaks, one with a misspelt hook, one that compares by value."""
    folder = tmp_path / "packages"
    fakes.install(folder, "first-pack", fakes.SIMPLE, {"same": "Same"})
    fakes.install(folder, "second-pack", fakes.SIMPLE, {"same": "Same"})
    fakes.install(folder, "broken-pack", fakes.BROKEN, {"broken": "Broken"})
    fakes.install(folder, "misspelt-pack", fakes.MISSPELT, {"misspelt": "Misspelt"})
    fakes.install(folder, "value-pack", fakes.BY_VALUE, {"by_value": "ByValue"})
    return folder


def test_list_names_each_and_imports_none(packages: Path, tmp_path: Path) -> None:
    ended = fakes.python(
        "import sys\nfrom stepbus.cli.main import main\nmain(['plugins', 'list', '--json'])\n"
        "ends, starts = '_pack', ('stepbus_plugins', 'mlx')\n"
        "loaded = [name for name in sys.modules if name.endswith(ends) or name.startswith(starts)]\n"
        "assert not loaded, loaded\n",
        packages,
        folder=tmp_path,
    )
    assert ended.returncode == 0, ended.stderr
    rows = {row["name"]: row for row in json.loads(ended.stdout)}
    assert {name: rows[name]["status"] for name in ("same", "broken", "misspelt", "by_value")} == {
        "same": "broken", "broken": "installed", "misspelt": "installed", "by_value": "installed",
    }  # fmt: skip
    assert rows["by_value"]["purpose"] == "Count, and be taken for another."
    assert rows["by_value"]["distribution"] == "value-pack"


def test_list_with_a_configuration_goes_on_after_a_broken_import(packages: Path, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("plugins: {broken: {}, same: {}, by_value: {}, history: false}\n")
    ended = fakes.stepbus("plugins", "list", "--config", "run.yaml", "--json", paths=(packages,), folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    rows = {row["name"]: row for row in json.loads(ended.stdout)}
    assert {name: rows[name]["status"] for name in ("same", "broken", "by_value", "history", "misspelt", "bert")} == {
        "same": "broken", "broken": "broken", "by_value": "enabled", "history": "off", "misspelt": "installed",
        "bert": "enabled",
    }  # fmt: skip
    assert "No module named 'a_package_that_is_nowhere'" in rows["broken"]["problem"]
    listed = fakes.stepbus(
        "plugins", "list", "--config", "run.yaml", "--requirements", paths=(packages,), folder=tmp_path
    )
    lines = listed.stdout.splitlines()
    assert lines[0].startswith("stepbus==")
    assert {"broken-pack==1.0", "value-pack==1.0"} <= set(lines)
    assert any(line.startswith("# same: ") for line in lines)


def test_other_runs_are_untouched(packages: Path, tmp_path: Path, tiny_config: Callable[..., dict[str, Any]]) -> None:
    (tmp_path / "run.json").write_text(json.dumps(tiny_config(training={"max_steps": 2})))
    ended = fakes.python(
        "import sys\nfrom stepbus.cli.main import main\ncode = main(['train', 'run.json'])\n"
        "assert not [name for name in sys.modules if name.endswith('_pack')]\nsys.exit(code)\n",
        packages,
        folder=tmp_path,
    )
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "run" / "model").is_dir()
