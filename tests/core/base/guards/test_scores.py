"""Metrics by name, and by the names that other libraries give them."""

from __future__ import annotations

import copy
import json

import pytest

from stepbus.base.guards import Scores
from stepbus.base.guards.read_only import ReadOnlyError

KNOWN = {"eval_loss": 0.5, "eval_accuracy": 0.75, "train_loss": 0.25, "test_f1": 1.0}


@pytest.mark.parametrize(
    ("name", "value"),
    [("eval_loss", 0.5), ("val_loss", 0.5), ("val_accuracy", 0.75), ("accuracy", 0.75), ("train_loss", 0.25)],
)
def test_line_166_a_metric_is_read_by_what_can_only_mean_it(name: str, value: float) -> None:
    scores = Scores(KNOWN)
    assert scores[name] == scores.get(name) == value
    assert name in scores


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("loss", "there is no metric 'loss': read 'eval_loss' or 'train_loss'"),
        ("val_f1", "there is no metric 'val_f1'; there are eval_accuracy, eval_loss, test_f1, train_loss"),
        ("eval_los", "there is no metric 'eval_los' (did you mean 'eval_loss'?); there are eval_accuracy, eval_loss"),
        ("val_", "there is no metric 'val_'"),
        (3, "there is no metric 3"),
    ],
)
def test_line_166_what_means_more_or_nothing_is_told_in_words(name: str, words: str) -> None:
    scores = Scores(KNOWN)
    with pytest.raises(KeyError) as refused:
        _ = scores[name]
    assert str(refused.value).startswith(words)
    assert name not in scores and scores.get(name) is None and scores.get(name, 7.0) == 7.0


def test_what_is_there_by_its_own_name_goes_first() -> None:
    scores = Scores({"val_loss": 1.0, "eval_loss": 2.0, "accuracy": 3.0, "eval_accuracy": 4.0})
    assert (scores["val_loss"], scores["accuracy"]) == (1.0, 3.0)


def test_listed_are_the_own_names_and_copies_are_plain() -> None:
    scores = Scores(KNOWN)
    assert list(scores) == list(KNOWN) and len(scores) == 4 and scores == KNOWN and {**scores} == KNOWN
    assert json.loads(json.dumps(scores)) == KNOWN
    assert type(dict(scores)) is type(copy.deepcopy(scores)) is dict
    with pytest.raises(ReadOnlyError):
        scores["val_loss"] = 1.0
    with pytest.raises(KeyError, match="there are none yet"):
        _ = Scores()["val_loss"]
