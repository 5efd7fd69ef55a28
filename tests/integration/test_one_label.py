"""A list of one label column: a label that is true or false by itself, not two classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

from stepbus import LabelCodec, create_trainer

METRICS = ["accuracy", "precision", "recall", "f1", "f1_macro", "f1_micro", "auc_pr", "log_loss"]


@pytest.mark.parametrize("weighted", [False, True])
def test_a_list_of_one_column_is_multilabel(weighted: bool, tiny_config: Any, review_files: Any) -> None:
    """It was binary, and the metrics of a single label were those of two classes."""
    for file in review_files.values():
        frame = pd.read_csv(file)
        frame.assign(w=1.0 + np.arange(len(frame)) % 3).to_csv(file, index=False)
    data = {"label": ["label"], **({"weight": "w"} if weighted else {})}
    trainer = create_trainer(config=tiny_config(data=data, training={"metrics": METRICS}))
    result = trainer.train()
    said = result.predictions["validation"]
    assert said.values.shape == said.labels.shape == (20, 1)
    truth, chance = said.labels[:, 0].astype(int), said.values[:, 0].astype(np.float64)
    given, weights = (chance >= 0.5).astype(int), said.weights
    scores = dict(
        zip(
            ("precision", "recall", "f1"),
            precision_recall_fscore_support(truth, given, average="binary", zero_division=0.0, sample_weight=weights),
            strict=False,
        )
    )
    losses = -np.where(truth == 1, np.log(chance), np.log1p(-chance))
    expected = {
        **scores,
        "accuracy": np.average(truth == given, weights=weights),
        "f1_macro": scores["f1"],
        "f1_micro": scores["f1"],
        "auc_pr": average_precision_score(truth, chance, sample_weight=weights),
        "log_loss": np.average(losses, weights=weights),
        "loss": np.average(losses, weights=weights),
    }
    assert {name: result.metrics[f"eval_{name}"] for name in expected} == pytest.approx(expected, abs=1e-6)
    rows = trainer.predict(pd.read_csv(review_files["dev"])[["text"]])
    np.testing.assert_allclose(rows, said.values, atol=1e-6)


def test_one_name_is_no_list() -> None:
    assert not LabelCodec("label").several and not LabelCodec(None).several
    assert LabelCodec(["label"]).several and LabelCodec(("a", "b")).several
