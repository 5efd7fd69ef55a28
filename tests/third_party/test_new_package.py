"""What `stepbus plugins new` writes: it installs, passes its own tests, keeps the linters' rules and runs."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from stepbus import import_module
from stepbus.author.scaffold import files as scaffold

HERE = Path(__file__).parent
RULES = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text())["tool"]["ruff"]
environment = import_module(str(HERE / "environment.py"))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An environment in which the new package print_loss is installed from the folder work/."""
    folder = tmp_path_factory.mktemp("new")
    (folder / "work").mkdir()
    made = environment.make(folder / "venv")
    made.check("stepbus", "plugins", "new", "print_loss", "--package", folder=folder / "work")
    made.check("pip", "install", "-e", "./stepbus-print-loss", folder=folder / "work")
    return made


@pytest.fixture(scope="module")
def package(own: Any) -> Path:
    return Path(own.folder.parent / "work" / "stepbus-print-loss")


def module(folder: Path, *words: str) -> None:
    """Run a module of the environment that runs the tests; it has to succeed."""
    done = subprocess.run([sys.executable, "-m", *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def pasted(shown: str) -> Any:
    """Return the YAML lines that the command printed."""
    return yaml.safe_load(shown[shown.index("plugins:\n") :])


def test_a_new_package_is_whole(package: Path) -> None:
    files = {str(path.relative_to(package)) for path in package.rglob("*") if path.is_file()}
    assert files == {
        "README.md",
        "pyproject.toml",
        "src/stepbus_print_loss/__init__.py",
        "src/stepbus_print_loss/py.typed",
        "tests/test_print_loss.py",
    }


def test_its_own_tests_pass(own: Any, package: Path) -> None:
    assert "5 passed" in own.check("pytest", "-q", package, folder=package.parent)


@pytest.mark.parametrize(
    ("before", "after", "test"),
    [
        ("self.total += step.loss", "self.total = step.loss", "tells_the_mean_loss_of_each_interval"),
        ("self.total, self.updates = saved", "_ = saved", "goes_on_after_a_resume"),
        ("check=lambda value: value >= 1", "check=lambda value: value >= 0", "interval_of_nothing_is_refused"),
    ],
)
def test_its_own_tests_can_fail(own: Any, package: Path, tmp_path: Path, before: str, after: str, test: str) -> None:
    source = (package / "src" / "stepbus_print_loss" / "__init__.py").read_text()
    assert before in source
    # `python -m` takes the module of the present folder.
    (tmp_path / "stepbus_print_loss.py").write_text(source.replace(before, after))
    tests = package / "tests" / "test_print_loss.py"
    done = own.run("python", "-m", "pytest", "-q", "-k", test, tests, folder=tmp_path)
    assert (done.returncode, "1 failed" in done.stdout) == (1, True), done.stdout


def test_it_keeps_the_rules_of_this_project(package: Path, mypy_cache: str) -> None:
    module(package, "ruff", "check", "--no-cache", "--extend-select", ",".join(RULES["lint"]["select"]), ".")
    module(package, "ruff", "format", "--no-cache", "--check", ".")
    module(package, "mypy", "--cache-dir", mypy_cache, "--strict", "src", "tests")


def test_a_run_names_it_in_yaml(own: Any, package: Path, tmp_path: Path, tiny_config: Any) -> None:
    plugins = {"progress": {}, "print_loss": {"every": 11}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(tiny_config(plugins=plugins)))
    shown = own.check("stepbus", "train", "run.yaml", folder=tmp_path)
    assert "step 11: mean loss 0." in shown and "step 22: mean loss 0." in shown

    rows = json.loads(own.check("stepbus", "plugins", "list", "--config", "run.yaml", "--json", folder=tmp_path))
    [row] = [row for row in rows if row["name"] == "print_loss"]
    assert (row["status"], row["source"], row["version"]) == ("enabled", "third-party", "0.1.0")
    assert row["purpose"] == "Tell the mean loss every few updates."


def test_its_name_is_taken_now(own: Any, tmp_path: Path) -> None:
    refused = own.run("stepbus", "plugins", "new", "print_loss", folder=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr == (
        "stepbus: an installed plugin is called 'print_loss' already (stepbus-print-loss 0.1.0); choose another name\n"
    )
    assert list(tmp_path.glob("*.py")) == []


def test_a_new_file_runs_as_its_lines_say(own: Any, tmp_path: Path, tiny_config: Any) -> None:
    lines = pasted(own.check("stepbus", "plugins", "new", "mean_loss", "--output", "a b", folder=tmp_path))
    assert lines == {"plugins": {"mean_loss": {"use": "./a b/mean_loss.py:MeanLoss", "every": 10}}}
    plugins = {"progress": {}, **lines["plugins"]}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(tiny_config(plugins=plugins)))
    shown = own.check("stepbus", "train", "run.yaml", folder=tmp_path)
    assert "step 10: mean loss 0." in shown and "step 20: mean loss 0." in shown

    calls = ", ".join(f'"{call}"' for call in RULES["lint"]["flake8-bugbear"]["extend-immutable-calls"])
    rules = [
        *("--line-length", str(RULES["line-length"]), "--select", ",".join(RULES["lint"]["select"])),
        *("--config", f"lint.flake8-bugbear.extend-immutable-calls = [{calls}]"),
    ]
    module(tmp_path, "ruff", "check", "--no-cache", "--isolated", *rules, "a b")
    module(tmp_path, "ruff", "format", "--no-cache", "--isolated", "--check", "--line-length", "120", "a b")


def test_the_wheel_of_stepbus_holds_packages_types_templates_and_configs(tmp_path: Path) -> None:
    root = HERE.parents[1]
    module(root, "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path))
    [wheel] = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    places = {root / "core" / "stepbus": "stepbus", root / "plugins" / "stepbus_plugins": "stepbus_plugins"}
    places[root / "configs"] = "stepbus/configs"
    assert packed == {
        f"{name}/{path.relative_to(folder).as_posix()}"
        for folder, name in places.items()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {"stepbus/py.typed", "stepbus_plugins/py.typed", "stepbus/kernel/engine.py"} <= packed
    assert {"stepbus/configs/quickstart.yaml", "stepbus/configs/defaults.yaml"} <= packed
    templates = {f"stepbus/author/templates/{path.name}" for path in scaffold.TEMPLATES.iterdir()}
    assert templates <= packed
    wanted = {name.replace("$kind", kind) for name in scaffold.DISTRIBUTION.values() if name for kind in scaffold.KINDS}
    assert wanted == {Path(name).name for name in templates}
