"""A problem of a plugin's own setting points at the plugin's own lines, under whatever name it has."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import yaml
from attrs import define

from stepbus import ConfigError, Problem, hookimpl
from stepbus.cli.main import main
from stepbus.testing import planned, play

WORDS = "expected an epoch of the fit, got 9"


class Late:
    @define(frozen=True, kw_only=True)
    class Config:
        from_epoch: int = 9

    def __init__(self, config: Config) -> None:
        self.config = config

    @hookimpl
    def validate_plan(self) -> list[Problem]:
        return [Problem(".from_epoch", WORDS), Problem(".", "both"), Problem("training.num_epochs", "too few")]


class Raises:
    @hookimpl
    def on_fit_start(self) -> None:
        raise ConfigError([Problem(".from_epoch", WORDS)])


class Around:
    @hookimpl(wrapper=True)
    def validate_plan(self) -> Generator[None, Any, Any]:
        found = yield
        return [*found, [Problem(".more", "of the one around")], None]


def test_the_place_is_the_plugins_own_and_other_paths_stay() -> None:
    with pytest.raises(ConfigError) as raised:
        planned(Late)
    assert [problem.path for problem in raised.value.problems] == [
        "plugins.late.from_epoch",
        "plugins.late",
        "training.num_epochs",
    ]


def test_of_one_around_the_others_each_keeps_its_own() -> None:
    with pytest.raises(ConfigError) as raised:
        planned(Around, Late)
    paths = [problem.path for problem in raised.value.problems]
    assert sorted(paths) == ["plugins.around.more", "plugins.late", "plugins.late.from_epoch", "training.num_epochs"]


def test_one_passed_as_an_object_has_no_place_among_plugins() -> None:
    with pytest.raises(ConfigError) as raised:
        planned(Late(Late.Config()))
    assert [problem.path for problem in raised.value.problems][:2] == ["late.from_epoch", "late"]


def test_what_a_hook_raises_says_its_place_as_well() -> None:
    with pytest.raises(ConfigError) as raised:
        play(Raises)
    assert str(raised.value) == f"plugins.raises.from_epoch: {WORDS}"


FILE = """
from attrs import define
from stepbus import ConfigError, Problem, hookimpl

class Late:
    scope = "run"

    @define(frozen=True, kw_only=True)
    class Config:
        from_epoch: int = 9

    def __init__(self, config):
        self.config = config

    @hookimpl
    def {hook}:
        if self.config.from_epoch > 7:
            {does}
"""
FOUND = '[Problem(".from_epoch", "expected an epoch of the fit")]'


@pytest.mark.parametrize(
    ("hook", "does"),
    [
        ("validate_plan(self)", f"return {FOUND}"),
        ("validate_plan(self)", f"raise ConfigError({FOUND})"),
        ("transform_model(self, model)", f"raise ConfigError({FOUND})"),
        ("expand_fits(self, fits)", f"raise ConfigError({FOUND})"),
    ],
)
def test_file_and_line_are_those_of_the_name_in_use(
    hook: str, does: str, tiny_config: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "late.py").write_text(FILE.format(hook=hook, does=does))
    tree = tiny_config()
    tree["plugins"] |= {
        "late": {"use": "./late.py:Late", "from_epoch": 1},
        "mine": {"use": "./late.py:Late", "from_epoch": 9},
    }
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(tree, sort_keys=False))
    line = file.read_text().splitlines().index("    from_epoch: 9") + 1
    assert main(["train", str(file)]) == 2
    told = capsys.readouterr().err
    assert f"run.yaml:{line}: plugins.mine.from_epoch: expected an epoch of the fit" in told
    assert "Traceback" not in told
