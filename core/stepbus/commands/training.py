"""`stepbus train`, `evaluate` and `predict`."""

from __future__ import annotations

import argparse


def train(arguments: argparse.Namespace) -> None:
    """Fine-tune as a configuration says."""
    from stepbus.config import load_config

    overrides = list(arguments.overrides)
    if arguments.output is not None:
        overrides.append(f"environment.output_dir={arguments.output}")
    config = load_config(arguments.config, overrides)
    # Only now, with a good configuration, are the array library and the weights worth their time.
    from stepbus import Trainer

    Trainer(config).train(
        resume=arguments.resume, allow_changed=arguments.allow_changed, trace_hooks=arguments.trace_hooks
    )


def evaluate(arguments: argparse.Namespace) -> None:
    """Print the metrics of labelled rows."""
    import json

    from stepbus import open_trainer

    metrics = open_trainer(arguments.model).evaluate(arguments.data)
    if arguments.json:
        print(json.dumps(metrics, indent=2))
        return
    width = max(map(len, metrics))
    for name, value in metrics.items():
        print(f"{name:<{width}}  {value:.6g}")


def predict(arguments: argparse.Namespace) -> None:
    """Write predictions as CSV."""
    from stepbus import open_trainer, write_predictions

    rows = write_predictions(open_trainer(arguments.model), arguments.data, arguments.output)
    print(f"{rows:,} predictions: {arguments.output}")
