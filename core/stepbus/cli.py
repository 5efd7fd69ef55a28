"""The command line. Heavy imports wait until a command needs them, so that `--help` answers at once."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

EPILOG = "exit codes: 0 done, 1 failure, 2 bad input, 130 or 143 interrupted with a checkpoint written"


def parser() -> argparse.ArgumentParser:
    """Return the parser of all built-in commands."""
    from stepbus import __version__

    top = argparse.ArgumentParser(prog="stepbus", description="Fine-tune BERT-type encoders on MLX.", epilog=EPILOG)
    top.add_argument("--version", action="version", version=f"stepbus {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    train = _command(commands, "train", "fine-tune a model as a YAML file or a preset says", _train)
    train.add_argument("config", metavar="CONFIG", help="a YAML or JSON file, or a preset's name")
    _settings(train)
    train.add_argument("--output", metavar="DIR", help="folder of the run, in place of environment.output_dir")
    train.add_argument(
        "--resume", metavar="PATH", nargs="?", const=True, default=False,
        help="go on with the newest run of the output folder, or with a run or checkpoint by path",
    )  # fmt: skip
    train.add_argument("--allow-changed", action="store_true", help="resume although settings, data or plugins differ")

    evaluate = _command(commands, "evaluate", "print the metrics of a trained model on labelled rows", _evaluate)
    evaluate.add_argument("model", metavar="FOLDER", help="a run, its model folder, or a checkpoint")
    evaluate.add_argument("data", metavar="FILE", help="labelled rows: CSV, TSV, JSONL or Parquet")
    evaluate.add_argument("--json", action="store_true", help="print the metrics as JSON")

    predict = _command(commands, "predict", "write a trained model's predictions as CSV", _predict)
    predict.add_argument("model", metavar="FOLDER", help="a run, its model folder, or a checkpoint")
    predict.add_argument("data", metavar="FILE", help="rows: CSV, TSV, JSONL or Parquet")
    predict.add_argument("--output", metavar="CSV", default="predictions.csv", help="file to write (%(default)s)")

    plugins = _group(commands, "plugins", "what is installed")
    _command(plugins, "list", "list the installed plugins; imports none of them", _plugins_list)

    config = _group(commands, "config", "what a configuration comes to")
    show = _command(config, "show", "print a configuration with its bases, defaults and overrides merged", _config_show)
    show.add_argument("config", metavar="CONFIG", help="a YAML or JSON file, or a preset's name")
    _settings(show)
    _command(config, "presets", "list the presets", _config_presets)

    _command(commands, "info", "print versions, device, BLAS and memory", _info)
    return top


def _command(
    commands: Any, name: str, purpose: str, function: Callable[[argparse.Namespace], int | None]
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=purpose, description=purpose.capitalize() + ".")
    command.set_defaults(run=function)
    return command


def _group(commands: Any, name: str, purpose: str) -> Any:
    group = commands.add_parser(name, help=purpose, description=purpose.capitalize() + ".")
    return group.add_subparsers(dest="subcommand", metavar="COMMAND", required=True)


def _settings(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--set", metavar="SECTION.KEY=VALUE", action="append", default=[], dest="overrides",
        help="override a setting; may be given several times",
    )  # fmt: skip


def _train(arguments: argparse.Namespace) -> None:
    from stepbus.config import load_config

    overrides = list(arguments.overrides)
    if arguments.output:
        overrides.append(f"environment.output_dir={arguments.output}")
    config = load_config(arguments.config, overrides)
    # Only now, with a good configuration, are the array library and the weights worth their time.
    from stepbus import Trainer

    Trainer(config).train(resume=arguments.resume, allow_changed=arguments.allow_changed)


def _evaluate(arguments: argparse.Namespace) -> None:
    import json

    from stepbus import open_trainer

    metrics = open_trainer(arguments.model).evaluate(arguments.data)
    if arguments.json:
        print(json.dumps(metrics, indent=2))
        return
    width = max(map(len, metrics))
    for name, value in metrics.items():
        print(f"{name:<{width}}  {value:.6g}")


def _predict(arguments: argparse.Namespace) -> None:
    from stepbus import open_trainer, write_predictions

    rows = write_predictions(open_trainer(arguments.model), arguments.data, arguments.output)
    print(f"{rows:,} predictions: {arguments.output}")


def _plugins_list(arguments: argparse.Namespace) -> None:
    from stepbus.plugins import installed, purpose

    plugins = installed()
    width = max(map(len, plugins), default=0)
    for name, plugin in plugins.items():
        owners = ", ".join(f"{owner.distribution} {owner.version}" for owner in (plugin, *plugin.rivals))
        broken = "offered twice: " if plugin.rivals else ""
        print(f"{name:<{width}}  {broken}{owners}  {purpose(plugin.value)}")


def _config_show(arguments: argparse.Namespace) -> None:
    from stepbus.config import load_config
    from stepbus.yaml_writer import to_yaml

    print(to_yaml(load_config(arguments.config, arguments.overrides).resolved()), end="")


def _config_presets(arguments: argparse.Namespace) -> None:
    from stepbus.presets import preset_names, preset_summary

    names = preset_names()
    width = max(map(len, names))
    for name in names:
        print(f"{name:<{width}}  {preset_summary(name)}")


def _info(arguments: argparse.Namespace) -> None:
    from stepbus import __version__, backend

    facts = {"stepbus": __version__, "python": sys.version.split()[0], **backend.describe()}
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:<{width}}  {value}")


def _third_party(name: str) -> Callable[[Sequence[str]], int | None] | None:
    """Return the command that an installed package adds, imported because it was typed."""
    import importlib

    from stepbus.plugins import entries

    for entry in entries("stepbus.commands"):
        if entry.name == name:
            module, _, attribute = entry.value.partition(":")
            function: Callable[[Sequence[str]], int | None] = getattr(importlib.import_module(module), attribute)
            return function
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    from stepbus.errors import StepbusError

    words = list(sys.argv[1:] if argv is None else argv)
    try:
        top = parser()
        builtin = {"train", "evaluate", "predict", "plugins", "config", "info"}
        if words and not words[0].startswith("-") and words[0] not in builtin:
            command = _third_party(words[0])
            if command is not None:
                return int(command(words[1:]) or 0)
        arguments = top.parse_args(words)
        return int(arguments.run(arguments) or 0)
    except StepbusError as error:
        print(f"stepbus: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # The reader of a pipe has left; what is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("stepbus: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
