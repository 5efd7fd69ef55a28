"""`stepbus plugins new`: names, what is refused, and that nothing is half-written."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from stepbus import BadInput
from stepbus.author.scaffold import files as scaffold
from stepbus.base.version import HOOKS_VERSION
from stepbus.cli.main import main
from stepbus.config.discovery.plugins import NAME, load_class


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    ("name", "cls", "module", "distribution"),
    [
        ("print_loss", "PrintLoss", "stepbus_print_loss", "stepbus-print-loss"),
        ("x", "X", "stepbus_x", "stepbus-x"),
        ("f1__2_", "F12", "stepbus_f1__2_", "stepbus-f1-2"),
        ("stepbus_lora", "StepbusLora", "stepbus_lora", "stepbus-lora"),
        ("none", "NonePlugin", "stepbus_none", "stepbus-none"),
        ("training_state", "TrainingStatePlugin", "stepbus_training_state", "stepbus-training-state"),
        ("any", "AnyPlugin", "stepbus_any", "stepbus-any"),
    ],
)
def test_one_name_gives_the_others(name: str, cls: str, module: str, distribution: str) -> None:
    assert scaffold.names(name) == scaffold.Names(name, cls, module, distribution)


@pytest.mark.parametrize("name", ["print_loss", "none", "training_state", "hookimpl", "f1__2_", "class"])
def test_a_new_file_loads_under_any_good_name(name: str, here: Path) -> None:
    plugin = scaffold.names(name)
    scaffold.write_file(plugin, here)
    loaded = load_class(name, f"./{name}.py:{plugin.cls}", here)
    assert loaded.cls.requires_hooks == HOOKS_VERSION
    assert loaded.config_class is not None and loaded.config_class().every == 10


@pytest.mark.parametrize("name", ["print_loss", "none", "f1__2_", "class"])
def test_a_new_distribution_has_its_names_everywhere(name: str, here: Path) -> None:
    plugin = scaffold.names(name)
    made = scaffold.write_distribution(plugin, here)
    table = tomllib.loads((made / "pyproject.toml").read_text())
    assert table["project"]["name"] == plugin.distribution
    assert table["project"]["entry-points"] == {"stepbus.plugins": {name: f"{plugin.module}:{plugin.cls}"}}
    assert (made / "src" / plugin.module / "__init__.py").read_text() == scaffold._filled("plugin.py.tmpl", plugin)
    ast.parse((made / "tests" / f"test_{name}.py").read_text())
    assert not [path for path in made.rglob("*") if path.is_file() and re.search(r"\$\{?[a-z]", path.read_text())]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Print-Loss", "got 'Print-Loss'; try print_loss"),
        ("PrintLoss", "got 'PrintLoss'; try print_loss"),
        ("../print loss", "got '../print loss'; try print_loss"),
        ("2fast", "begins with a letter, got '2fast'"),
        ("", "got ''"),
        ("größe", "got 'größe'; try gr_e"),
        ("print_loss\n", r"got 'print_loss\n'; try print_loss"),
        ("on", "YAML reads on as True and not as a name; choose another name"),
        ("null", "YAML reads null as None and not as a name"),
        ("early_stopping", "an installed plugin is called 'early_stopping' already (stepbus "),
    ],
)
@pytest.mark.parametrize("package", [True, False])
def test_a_bad_name_is_refused_in_one_sentence(
    name: str, why: str, package: bool, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plugins", "new", name, *(["--package"] if package else [])]) == 2
    out, err = capsys.readouterr()
    assert why in err and err.count("\n") == 1 and out == ""
    assert list(here.iterdir()) == []


def test_a_name_is_offered_only_where_it_is_one() -> None:
    for name in ("2fast", "", "-", "Ä"):
        with pytest.raises(BadInput) as refused:
            scaffold.names(name)
        assert "; try" not in str(refused.value)
        assert not NAME.fullmatch(name)


def test_a_module_that_is_there_is_not_hidden(here: Path) -> None:
    with pytest.raises(BadInput, match="a module called stepbus_plugins is installed already"):
        scaffold.write_distribution(scaffold.names("plugins"), here)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(("words", "target"), [([], "mine.py"), (["--package"], "stepbus-mine")])
def test_nothing_is_overwritten(words: list[str], target: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / target).symlink_to(here / "nowhere")
    assert main(["plugins", "new", "mine", *words]) == 2
    assert capsys.readouterr().err == (
        f"stepbus: {target} is there already; move it away, or choose another name or --output\n"
    )
    (here / target).unlink()
    (here / target).write_text("mine")
    assert main(["plugins", "new", "mine", *words]) == 2
    assert (here / target).read_text() == "mine"
    assert [path.name for path in here.iterdir()] == [target]


def test_a_failure_on_the_way_leaves_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []

    def full(path: Path, text: str, **_: str) -> int:
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        written.append(path)
        return write(path, text)

    write = Path.write_text
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(
        BadInput, match="stepbus-mine cannot be written: No space left on device; make room or choose another folder"
    ):
        scaffold.write_distribution(scaffold.names("mine"), here)
    assert len(written) == 3
    assert list(here.iterdir()) == []


def test_a_folder_that_cannot_be_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "file").write_text("")
    assert main(["plugins", "new", "mine", "--output", "file"]) == 2
    assert capsys.readouterr().err.startswith("stepbus: file/mine.py cannot be written: ")


def test_the_lines_to_paste_find_the_file_from_where_one_stands(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for output, use in (
        ("plugins/own", "./plugins/own/mine.py:Mine"),
        ("a b", "./a b/mine.py:Mine"),
        ("..", f"{tmp_path}/mine.py:Mine"),
        ("#1: x", "./#1: x/mine.py:Mine"),
    ):
        assert main(["plugins", "new", "mine", "--output", output]) == 0
        shown = capsys.readouterr().out
        lines = yaml.safe_load(shown[shown.index("plugins:\n") :])
        assert lines == {"plugins": {"mine": {"use": use, "every": 10}}}
        assert load_class("mine", use, here).cls.__name__ == "Mine"


def test_the_words_say_how_to_install(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "new", "mine", "--package", "--output", "a b"]) == 0
    assert capsys.readouterr().out == (
        "wrote a b/stepbus-mine; install it, test it, and name it in a configuration file:\n\n"
        "    pip install -e './a b/stepbus-mine'\n"
        "    pytest './a b/stepbus-mine'\n\n"
        "plugins:\n  mine: {every: 10}\n"
    )


@pytest.mark.parametrize(
    "words",
    [
        ("show", "https://user:geheim@host/x"),
        ("show", "https://user:geheim@host/x.py:Y"),
        ("new", "https://user:geheim@host/x"),
        ("new", "fine", "--output", "https://user:geheim@host/x"),
    ],
)
def test_no_password_is_printed(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert main(["plugins", *words]) == 2
    said = capsys.readouterr()
    assert "https://***@host/x" in said.err
    assert "geheim" not in said.out + said.err
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("mine", "--kind", "losses"), "got 'losses' (did you mean 'loss'?)"),
        (("mine", "--kind", "optimiser"), "got 'optimiser' (did you mean 'optimizer'?)"),
        (
            ("adamw", "--kind", "optimizer"),
            "an installed plugin offers the optimizer 'adamw' already (optimizers, stepbus",
        ),
    ],
)
def test_a_kind_or_a_component_that_cannot_be_is_refused(
    words: tuple[str, ...], said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plugins", "new", *words]) == 2
    assert said in capsys.readouterr().err
    assert list(here.iterdir()) == []


def test_a_class_of_the_template_is_no_name_for_the_plugins(here: Path) -> None:
    assert scaffold.names("settings", "optimizer").cls == "SettingsPlugin"
    assert scaffold.names("schedule", "scheduler").cls == "SchedulePlugin"
    assert scaffold.names("schedule", "optimizer").cls == "Schedule"
