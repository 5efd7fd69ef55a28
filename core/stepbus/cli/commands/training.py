"""`stepbus train`, `evaluate` and `predict`."""

from __future__ import annotations

import argparse

USUAL = "predictions.csv"  # where predictions go if no file is named


def train(arguments: argparse.Namespace) -> None:
    """Fine-tune as a configuration says."""
    from stepbus.cli.commands.output_folder import output_folder
    from stepbus.config import load_config

    named = {} if arguments.output is None else {"environment.output_dir": str(output_folder(arguments.output))}
    config = load_config(arguments.config, arguments.overrides, named)
    if named and arguments.overrides:
        config = config.updated(named)  # what --set says lies over keywords, and --output over both
    if arguments.output is not None and isinstance(arguments.resume, str):
        import sys
        from pathlib import Path

        resumed, given = Path(arguments.resume).resolve(), Path(arguments.output).resolve()
        if given not in (resumed, *resumed.parents):
            said = f"--output {arguments.output} is not used, because the run that is resumed goes on in its own folder"
            print(f"stepbus: {said}", file=sys.stderr)
    # Only now, with a good configuration, are the array library and the weights worth their time.
    from stepbus.api import Trainer

    Trainer(config).train(
        resume=arguments.resume, allow_changed=arguments.allow_changed, trace_hooks=arguments.trace_hooks
    )


def evaluate(arguments: argparse.Namespace) -> None:
    """Print the metrics of labelled rows."""
    from stepbus.api import open_trainer
    from stepbus.cli.commands.printing import show

    metrics = open_trainer(arguments.model, trust=arguments.trust).evaluate(arguments.data)
    if arguments.json:
        from stepbus.base import strict_json

        show(strict_json(metrics))
        return
    width = max(map(len, metrics))
    for name, value in metrics.items():
        show(f"{name:<{width}}  {value:.6g}")


def predict(arguments: argparse.Namespace) -> None:
    """Write predictions, and say how many."""
    import os
    import sys

    from stepbus.api import find_output
    from stepbus.base import BadInput, counted
    from stepbus.cli.commands.printing import show

    # What cannot be written is known before the model is opened.
    output = USUAL if arguments.output is None else arguments.output
    place = find_output(output, [] if arguments.data is None else [arguments.data])
    if arguments.output is None and os.path.lexists(USUAL):
        raise BadInput(f"{USUAL}: it is there already; name a file with --output, which replaces what it names")
    stream = sys.stderr if place.on_stdout else sys.stdout
    from stepbus.api import open_trainer, write_predictions

    trainer = open_trainer(arguments.model, trust=arguments.trust)
    rows = write_predictions(trainer, arguments.data, output, spreadsheet_safe=arguments.spreadsheet_safe)
    show(f"{counted(rows, 'prediction')}: {output}", stream)
