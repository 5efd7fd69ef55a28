"""The walk: each of its 182 lines has a test here, or stands in a table of what is not there yet."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import stepbus
from stepbus import ConfigError, create_trainer, import_module

LINES = range(1, 183)
HERE = Path(__file__).parent
# In a test's name, `test_line_102_164_words`, or in the id of a case, `line-133-0-yaml`.
NAME = re.compile(r"test_line((?:_\d{3})+)_")
CASE = re.compile(r"line-(\d+)\b")

KAGGLE = ("name", "create_kaggle_trainer")
ENSEMBLE = ("plugin", "ensemble")
MLFLOW = ("plugin", "mlflow")
CV = ("method", "train_with_cv")
# Line -> what is missing, and where it would be found if it were there.
OPEN: dict[int, tuple[str, tuple[str, str]]] = {
    6: ("competitions as a whole", KAGGLE),
    7: ("a tracker for MLflow", MLFLOW),
    15: ("create_kaggle_trainer", KAGGLE),
    16: ("train_with_cv", CV),
    17: ("create_submission", ("method", "create_submission")),
    53: ("runs of MLflow", MLFLOW),
    54: ("metrics and artifacts in MLflow", MLFLOW),
    55: ("MLflow's registry of models", MLFLOW),
    56: ("settings in MLflow", MLFLOW),
    71: ("voting", ENSEMBLE),
    72: ("blending", ENSEMBLE),
    73: ("stacking", ENSEMBLE),
    74: ("members of several seeds", ENSEMBLE),
    75: ("members of several settings", ENSEMBLE),
    76: ("pseudo-labels", ("plugin", "pseudo_labeling")),
    77: ("test-time augmentation", ("plugin", "tta")),
    78: ("adversarial validation", ("plugin", "adversarial_validation")),
    80: ("a file in a competition's form", ("method", "create_submission")),
    81: ("the leaderboard's score in MLflow", MLFLOW),
    82: ("facts of a competition", KAGGLE),
    83: ("templates of a submission's message", KAGGLE),
    84: ("submission by itself", KAGGLE),
    99: ("the section kaggle", ("setting", "kaggle.competition_name")),
    101: ("presets of competitions", ("preset", "titanic")),
    106: ("MLflowConfig and MLflowCallback", ("name", "MLflowConfig")),
    119: ("KaggleTrainer", ("name", "KaggleTrainer")),
    120: ("train_with_cv and CVResult", CV),
    121: ("create_submission with test-time augmentation", ("method", "create_submission")),
    122: ("train_ensemble and EnsembleResult", ("method", "train_ensemble")),
    123: ("train_advanced", ("method", "train_advanced")),
    153: ("KaggleConfig: the competition, the best fold", ("name", "KaggleConfig")),
    154: ("KaggleConfig: the folds", ("name", "KaggleConfig")),
    155: ("KaggleConfig: the ensemble", ("name", "KaggleConfig")),
    156: ("KaggleConfig: pseudo-labels", ("name", "KaggleConfig")),
    157: ("KaggleConfig: test-time augmentation", ("name", "KaggleConfig")),
    161: ("PseudoLabelingConfig", ("name", "PseudoLabelingConfig")),
    162: ("EnsembleConfig", ("name", "EnsembleConfig")),
    163: ("create_kaggle_trainer with both", KAGGLE),
    167: ("create_mlflow_callback", ("name", "create_mlflow_callback")),
    171: ("blending of submissions", ENSEMBLE),
    176: ("another architecture than BERT", ("setting", "model.type=modernbert")),
    180: ("quantised weights", ("setting", "model.quantization")),
}


def walked() -> set[int]:
    """Return the lines that have a test in this folder."""
    found: set[int] = set()
    for path in sorted(HERE.glob("test_*.py")):
        if path.name == Path(__file__).name:
            continue
        for name, test in vars(import_module(str(path))).items():
            if not name.startswith("test_"):
                continue
            found |= {int(number) for names in NAME.findall(name) for number in names.split("_") if number}
            cases = [case for mark in getattr(test, "pytestmark", ()) for case in mark.args[1:2]]
            ids = [str(getattr(each, "id", "")) for case in cases for each in case]
            found |= {int(number) for each in ids for number in CASE.findall(each)}
    return found


def test_each_line_is_walked_or_open_and_none_is_both() -> None:
    found = walked()
    assert sorted(found | OPEN.keys()) == list(LINES)
    assert sorted(found & OPEN.keys()) == []


def is_there(kind: str, what: str) -> bool:
    """Return whether stepbus has something.

    Args:
        kind: A public name, a method of the trainer, a plugin, a preset, or a setting, perhaps with a value.
        what: Which.
    """
    if kind == "name":
        return hasattr(stepbus, what)
    if kind == "method":
        return hasattr(stepbus.Trainer, what)
    path, _, value = what.partition("=")
    given: dict[str, Any] = {
        "plugin": {"plugins": {what: True}},
        "preset": {"extends": what},
        "setting": {path.replace(".", "__"): value or "none"},
    }[kind]
    try:
        create_trainer(**({"config": given} if kind != "setting" else given))
    except ConfigError as error:
        assert path.partition(".")[0] in str(error)
        return False
    return True


@pytest.mark.parametrize("number", OPEN)
def test_what_is_open_is_not_there(number: int) -> None:
    words, (kind, what) = OPEN[number]
    assert not is_there(kind, what), f"{what} is there: walk line {number} ({words})"


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("name", "create_trainer"),
        ("method", "train"),
        ("plugin", "nan_guard"),
        ("preset", "production"),
        ("setting", "model.type=bert"),
    ],
)
def test_what_is_there_is_found(kind: str, what: str) -> None:
    assert is_there(kind, what)
