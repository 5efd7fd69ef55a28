"""The command line: what can be typed. What one does stands in `stepbus.cli.commands`, imported when it is typed."""

from __future__ import annotations

# Nothing else is imported here: `main` comes first, and a signal is answered from then on.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from typing import Any

EPILOG = "exit codes: 0 done, 1 failure, 2 bad input, 130 or 143 interrupted with a checkpoint written"
ROWS = "a CSV, TSV, JSONL or Parquet file, or what a reader of the model's plugins takes (sqlite:FILE#TABLE)"
CONFIG = "a YAML or JSON file, or a preset's name"


def parser() -> argparse.ArgumentParser:
    """Return the parser of all built-in commands."""
    from stepbus.base import __version__
    from stepbus.cli.arguments import Parser, at_least_one

    top = Parser(prog="stepbus", description="Fine-tune BERT-type encoders on MLX.")
    top.add_argument("--version", action="version", version=f"stepbus {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    train = _command(commands, "train", "fine-tune a model as a YAML file or a preset says", "training:train")
    train.add_argument("config", metavar="CONFIG", help=CONFIG)
    _settings(train)
    train.add_argument("--output", metavar="DIR", help="folder of the run, in place of environment.output_dir")
    train.add_argument(
        "--resume", metavar="PATH", nargs="?", const=True, default=False,
        help="go on with the newest run of the output folder, or with a run or checkpoint by path",
    )  # fmt: skip
    train.add_argument(
        "--allow-changed", action="store_true", help="resume although settings, data, plugins or machine differ"
    )
    train.add_argument("--trace-hooks", action="store_true", help="print each call of a hook, with plugin and time")

    plan = _command(
        commands, "plan", "say what a run would do and what is wrong, before weights are loaded", "plan:plan"
    )
    plan.add_argument("config", metavar="CONFIG", help=CONFIG)
    _settings(plan)
    plan.add_argument("--json", action="store_true", help="print the plan as JSON")

    profile = _command(commands, "profile", "measure where the time of a run's first updates goes", "profile:profile")
    profile.add_argument("config", metavar="CONFIG", help=CONFIG)
    _settings(profile)
    profile.add_argument(
        "--steps", metavar="N", type=at_least_one, default=20, help="updates to measure (20); nothing is left behind"
    )
    profile.add_argument("--json", action="store_true", help="print what was measured as JSON")

    evaluate = _command(
        commands, "evaluate", "print the metrics of a trained model on labelled rows", "training:evaluate"
    )
    evaluate.add_argument("model", metavar="FOLDER", help="a run, its model folder, or a checkpoint")
    evaluate.add_argument("data", metavar="FILE", help=f"labelled rows: {ROWS}")
    _trust(evaluate)
    evaluate.add_argument("--json", action="store_true", help="print the metrics as JSON")

    predict = _command(commands, "predict", "write a trained model's predictions to a file", "training:predict")
    predict.add_argument("model", metavar="FOLDER", help="a run, its model folder, or a checkpoint")
    predict.add_argument(
        "data",
        metavar="FILE",
        nargs="?",
        help=f"rows: {ROWS}; none takes those that a run predicted itself (data.test)",
    )
    _trust(predict)
    predict.add_argument(
        "--output", metavar="FILE",
        help="file to write: .csv, .tsv, .jsonl or .parquet; - is standard output, as CSV; none writes a new "
        "predictions.csv",
    )  # fmt: skip
    predict.add_argument(
        "--spreadsheet-safe",
        action="store_true",
        help="put an apostrophe before text that a spreadsheet would calculate: = + - @ (.csv and .tsv)",
    )

    plugins = _group(commands, "plugins", "what is installed")
    listed = _command(
        plugins, "list", "list the installed plugins; imports none that is not enabled", "plugins_list:plugins_list"
    )
    listed.add_argument("--config", metavar="CONFIG", help="say which of them this configuration enables")
    form = listed.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the list as JSON")
    form.add_argument(
        "--requirements",
        action="store_true",
        help="print the packages of what is enabled as lines of a requirements file",
    )
    shown = _command(plugins, "show", "show a plugin's settings, hooks and components", "plugins_show:plugins_show")
    shown.add_argument("name", metavar="NAME", help="an installed plugin, or module:Class, or ./file.py:Class")
    shown.add_argument("--json", action="store_true", help="print the description as JSON")
    doctor = _command(
        plugins, "doctor", "import each plugin by itself and say what is wrong", "plugins_doctor:plugins_doctor"
    )
    doctor.add_argument(
        "--config", metavar="CONFIG", help="check the plugins and settings of this configuration as well"
    )
    doctor.add_argument(
        "--timeout", metavar="SECONDS", type=float, default=10.0,
        help="how long the imports of one package may take before it counts as hanging (10)",
    )  # fmt: skip
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")
    new = _command(plugins, "new", "write a new plugin to start from", "plugins_new:plugins_new")
    new.add_argument("name", metavar="NAME", help="its name: small letters, digits and _")
    new.add_argument(
        "--kind", metavar="KIND", default="plugin",
        help="what it is: plugin (hooks that watch), technique (hooks of a step), or what it offers: loss, optimizer, "
        "scheduler, head, pooling, metric, data, reader or model",
    )  # fmt: skip
    new.add_argument("--package", action="store_true", help="write a whole distribution with a test, ready to publish")
    new.add_argument("--output", metavar="DIR", default=".", help="folder to write it in (the present one)")

    hooks = _command(commands, "hooks", "print the hook reference", "hooks:hooks")
    what = hooks.add_mutually_exclusive_group()
    what.add_argument("name", metavar="NAME", nargs="?", help="one hook; none prints all, in the order of a run")
    what.add_argument("--markdown", action="store_true", help="print it as CONTRIBUTING.md has it")

    contracts = _command(
        commands, "contracts", "print what a component of each kind gets and returns, and what hooks are given",
        "contracts:contracts",
    )  # fmt: skip
    which = contracts.add_mutually_exclusive_group()
    which.add_argument("name", metavar="NAME", nargs="?", help="a kind (optimizer) or an object (Session); none: all")
    which.add_argument("--markdown", action="store_true", help="print them as CONTRIBUTING.md has them")

    config = _group(commands, "config", "what a configuration comes to")
    show = _command(
        config, "show", "print a configuration with its bases, defaults and overrides merged", "config:show"
    )
    show.add_argument("config", metavar="CONFIG", help=CONFIG)
    _settings(show)
    _command(config, "presets", "list the presets", "config:presets")
    schema = _command(
        config, "schema", "print the JSON Schema of a configuration, for editors", "config_schema:config_schema"
    )
    schema.add_argument(
        "config", metavar="CONFIG", nargs="?", help="a configuration whose own plugins join the installed ones"
    )

    _command(commands, "info", "print versions, device, BLAS and memory", "info:info")
    return top


def _command(commands: Any, name: str, purpose: str, place: str) -> argparse.ArgumentParser:
    sentence = f"{purpose[0].upper()}{purpose[1:]}."
    command: argparse.ArgumentParser = commands.add_parser(name, help=purpose, description=sentence)
    command.set_defaults(place=place)
    return command


def _group(commands: Any, name: str, purpose: str) -> Any:
    group = commands.add_parser(name, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
    return group.add_subparsers(dest="subcommand", metavar="COMMAND", required=True)


def _trust(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--trust", action="store_true",
        help="let the model folder import files and call functions that it names; only if you know who wrote it",
    )  # fmt: skip


def _settings(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--set", metavar="SECTION.KEY=VALUE", action="append", default=[], dest="overrides",
        help="override a setting; may be given several times",
    )  # fmt: skip


def _builtin(place: str) -> Callable[[argparse.Namespace], int | None]:
    """Return the function of a command: it takes the parsed arguments and returns its exit code, or None for 0."""
    import importlib

    module, _, function = place.partition(":")
    found: Callable[[argparse.Namespace], int | None] = getattr(
        importlib.import_module(f"stepbus.cli.commands.{module}"), function
    )
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; SIGINT and SIGTERM end it with 130 and 143 and one sentence.

    Args:
        argv: The words after the program's name; None takes those of this process, which is to end afterwards.
    """
    try:
        from stepbus.cli.signals import ended

        return ended(lambda: _command_of(argv), last=argv is None)
    except KeyboardInterrupt:  # before the handlers were in place
        import sys

        print("stepbus: interrupted", file=sys.stderr)
        return 130


def _command_of(argv: Sequence[str] | None) -> int:
    import sys

    from stepbus.base import BadInput, did_you_mean, terminal
    from stepbus.cli.commands import printing
    from stepbus.config.discovery import package_commands

    terminal.prepare()
    words = list(sys.argv[1:] if argv is None else argv)
    top = parser()
    if not words or words[0] in ("-h", "--help"):
        top.epilog = package_commands.listing() + EPILOG
    elif not words[0].startswith("-") and words[0] not in package_commands.BUILTIN:
        command = package_commands.find(words[0])
        if command is None:
            near = did_you_mean(words[0], [*package_commands.BUILTIN, *package_commands.names()])
            raise BadInput(f"there is no command {words[0]!r}{near}; `stepbus --help` lists them")
        return int(command(words[1:]) or 0)
    arguments = top.parse_args(words)
    code = int(_builtin(arguments.place)(arguments) or 0)
    printing.flush(sys.stdout)
    return code
