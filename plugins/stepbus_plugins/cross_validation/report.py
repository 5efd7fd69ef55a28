"""What came out of the folds: each fold's scores, their mean and spread, and the score of all predictions at once."""

from __future__ import annotations

import numpy as np

from stepbus import FitResult


def fold_scores(result: FitResult) -> dict[str, float]:
    """Return the metrics of the held-out rows of one fold, without prefix."""
    prefix = "eval_" if result.fit.monitored == "validation" else "validation_"
    return {name.removeprefix(prefix): value for name, value in result.metrics.items() if name.startswith(prefix)}


def combined_metrics(scores: dict[str, float], each: list[dict[str, float]]) -> dict[str, float]:
    """Return the metrics of the whole, named by what they are: out-of-fold, mean over the folds, and their sd.

    Args:
        scores: The metrics of all held-out predictions at once.
        each: The metrics of each fold.
    """
    metrics = {f"oof_{name}": value for name, value in scores.items()}
    for name in each[0]:
        values = [fold[name] for fold in each]
        metrics |= {f"cv_{name}_mean": float(np.mean(values)), f"cv_{name}_sd": float(np.std(values, ddof=1))}
    return metrics


def report_rows(
    results: list[FitResult],
    each: list[dict[str, float]],
    scores: dict[str, float],
    metrics: dict[str, float],
    predicted: int,
) -> list[list[str]]:
    """Return the rows of the report: the folds, their mean and spread, and the score of all predictions at once."""
    names = list(each[0])
    rows = [
        [str(result.fit.scope["fold"] + 1), str(len(result.fit.sets["validation"])), *_words(fold, names)]
        for result, fold in zip(results, each, strict=True)
    ]
    for row, kind in (("mean", "mean"), ("± sd", "sd")):
        rows.append([row, "", *(f"{metrics[f'cv_{name}_{kind}']:.4f}" for name in names)])
    return [*rows, ["out-of-fold", str(predicted), *_words(scores, names)]]


def _words(scores: dict[str, float], names: list[str]) -> list[str]:
    return [f"{scores[name]:.4f}" if name in scores else "" for name in names]
