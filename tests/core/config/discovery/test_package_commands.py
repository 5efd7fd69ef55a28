"""Commands that packages add: found by name, listed in the help, and refused in one sentence."""

from __future__ import annotations

from pathlib import Path

from stepbus.cli.main import parser
from stepbus.config.discovery.package_commands import BUILTIN
from stepbus.config.discovery.plugins import import_module

fakes = import_module(str(Path(__file__).parents[3] / "fixtures" / "distributions.py"))

SAYS = "def say(words):\n    print('said', *words)\n    return 3\n"


def install(folder: Path, name: str, code: str, command: str) -> None:
    fakes.install(folder, name, code, {command: "say"}, group="stepbus.commands")


def test_the_built_in_commands_are_those_of_the_parser() -> None:
    (commands,) = (action for action in parser()._actions if action.dest == "command")
    assert commands.choices is not None
    assert tuple(commands.choices) == BUILTIN


def test_a_command_gets_the_words_after_it_and_gives_the_exit_code(tmp_path: Path) -> None:
    install(tmp_path, "say-pack", SAYS, "say")
    ended = fakes.stepbus("say", "one", "--two", paths=(tmp_path,), folder=tmp_path)
    assert (ended.returncode, ended.stdout) == (3, "said one --two\n")


def test_the_help_lists_it_without_an_import(tmp_path: Path) -> None:
    install(tmp_path, "say-pack", "raise SystemExit('imported')\n", "say")
    ended = fakes.stepbus("--help", paths=(tmp_path,), folder=tmp_path)
    assert ended.returncode == 0
    assert "commands of installed packages: say (say-pack 1.0)" in " ".join(ended.stdout.split())


def test_a_command_that_two_packages_offer_names_both(tmp_path: Path) -> None:
    install(tmp_path, "first-pack", SAYS, "say")
    install(tmp_path, "second-pack", SAYS, "say")
    install(tmp_path, "third-pack", SAYS, "train")
    expected = "the command say is offered by first-pack 1.0 and second-pack 1.0; uninstall one of them"
    ended = fakes.stepbus("say", paths=(tmp_path,), folder=tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", f"stepbus: {expected}\n")
    doctor = fakes.stepbus("plugins", "doctor", paths=(tmp_path,), folder=tmp_path)
    assert doctor.returncode == 2
    assert expected in doctor.stdout
    assert "the command train of third-pack 1.0 is hidden by the built-in one" in doctor.stdout


def test_a_command_that_cannot_be_imported_says_whose_it_is(tmp_path: Path) -> None:
    install(tmp_path, "broken-pack", "import a_package_that_is_nowhere\n", "say")
    ended = fakes.stepbus("say", paths=(tmp_path,), folder=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.startswith(
        "stepbus: the command say of broken-pack 1.0 cannot be imported from broken_pack:say"
    )
    assert "Traceback" not in ended.stderr


def test_a_mistyped_command_gets_a_suggestion(tmp_path: Path) -> None:
    ended = fakes.stepbus("trian", "run.yaml", folder=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr == (
        "stepbus: there is no command 'trian' (did you mean 'train'?); `stepbus --help` lists them\n"
    )
