"""The estimators in scikit-learn's company: every number is that of trainers by hand."""

from __future__ import annotations

import copy
import doctest
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from attrs import evolve
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from stepbus import Predictions, create_trainer, hookimpl, import_module
from stepbus_plugins.scikit_learn import StepbusClassifier, StepbusRegressor

small: Any = import_module(str(Path(__file__).parents[2] / "fixtures" / "estimators.py"))
TEXTS = ["a good film", "a bad film", "great plot", "awful plot", "the end", "a cast"] * 3
LABELS = np.array(["yes", "no", "maybe"] * 6)
VALUES = np.arange(18) * 1.5


def a_classifier(**parameters: Any) -> StepbusClassifier:
    return StepbusClassifier(**{**small.FAST, **parameters})


def a_trainer(folder: Path, **settings: Any) -> Any:
    parameters = {name: value for name, value in small.FAST.items() if name not in ("settings", "random_state")}
    return create_trainer(**small.FAST["settings"], **parameters, seed=0, output_dir=folder, progress=False, **settings)


def test_a_classifier_says_what_its_trainer_says(tmp_path: Path) -> None:
    trainer = a_trainer(tmp_path / "run", text="text", label="label")
    trainer.train(pd.DataFrame({"text": TEXTS, "label": LABELS}))
    assert trainer.codec.names == ["maybe", "no", "yes"]
    found = a_classifier().fit(TEXTS, LABELS)
    assert found.classes_.tolist() == ["maybe", "no", "yes"]
    wanted = trainer.predict(TEXTS_FRAME)
    np.testing.assert_array_equal(found.predict_proba(TEXTS), wanted)
    np.testing.assert_array_equal(found.predict(TEXTS), found.classes_[wanted.argmax(axis=1)])
    np.testing.assert_array_equal(found.decision_function(TEXTS), trainer.predict(TEXTS_FRAME, return_logits=True))
    assert found.score(TEXTS, LABELS) == np.mean(found.predict(TEXTS) == LABELS)
    pd.testing.assert_frame_equal(found.history_, trainer.result.frame())
    assert found.n_steps_ == 2
    assert found.trainer_.evaluate(pd.DataFrame({"text": TEXTS, "label": LABELS}))["eval_accuracy"] == found.score(
        TEXTS, LABELS
    )


TEXTS_FRAME = pd.DataFrame({"text": TEXTS})


def test_a_regressor_says_what_its_trainer_says(tmp_path: Path) -> None:
    trainer = a_trainer(tmp_path / "run", text="text", label="label", task="regression")
    trainer.train(pd.DataFrame({"text": TEXTS, "label": VALUES}))
    found = StepbusRegressor(**small.FAST).fit(TEXTS, VALUES)
    np.testing.assert_array_equal(found.predict(TEXTS), trainer.predict(TEXTS_FRAME).reshape(-1))
    residual = ((VALUES - found.predict(TEXTS)) ** 2).sum()
    assert found.score(TEXTS, VALUES) == pytest.approx(1 - residual / ((VALUES - VALUES.mean()) ** 2).sum())


def test_two_classes_have_one_decision() -> None:
    y = np.array([3, 5] * 9)
    found = a_classifier().fit(TEXTS, y)
    decision = found.decision_function(TEXTS)
    assert decision.shape == (18,)
    np.testing.assert_allclose(1 / (1 + np.exp(-decision)), found.predict_proba(TEXTS)[:, 1], rtol=1e-5)


def test_the_seed_decides() -> None:
    found = a_classifier().fit(TEXTS, LABELS).predict_proba(TEXTS)
    np.testing.assert_array_equal(a_classifier(random_state=np.int64(0)).fit(TEXTS, LABELS).predict_proba(TEXTS), found)
    assert np.abs(a_classifier(random_state=1).fit(TEXTS, LABELS).predict_proba(TEXTS) - found).max() > 1e-3
    drawn = [
        a_classifier(random_state=np.random.RandomState(3)).fit(TEXTS, LABELS).predict_proba(TEXTS) for _ in range(2)
    ]
    np.testing.assert_array_equal(*drawn)
    settings = {**small.FAST["settings"], "seed": 0}
    own = a_classifier(random_state=None, settings=settings).fit(TEXTS, LABELS).predict_proba(TEXTS)
    np.testing.assert_array_equal(own, found)


def test_parameters() -> None:
    found = a_classifier(num_epochs=3)
    assert found.get_params()["num_epochs"] == 3
    again = clone(found).set_params(num_epochs=4)
    assert (again.num_epochs, found.num_epochs, again.settings) == (4, 3, found.settings)
    assert "num_epochs=3" in repr(found)
    assert "StepbusClassifier" in found._repr_html_()
    with pytest.raises(ValueError, match="Invalid parameter 'num_epoch'"):
        found.set_params(num_epoch=1)


@pytest.mark.parametrize("jobs", [None, 2])
def test_cross_val_predict_is_fits_by_hand(jobs: int | None) -> None:
    """With two jobs the estimators travel to processes of their own, and what they predict comes back."""
    folds = KFold(2, shuffle=True, random_state=1)
    found = cross_val_predict(a_classifier(), TEXTS, LABELS, cv=folds, method="predict_proba", n_jobs=jobs)
    wanted = np.zeros((18, 3))
    texts = np.array(TEXTS, dtype=object)
    for train, held in folds.split(TEXTS):
        wanted[held] = a_classifier().fit(texts[train], LABELS[train]).predict_proba(texts[held])
    np.testing.assert_array_equal(found, wanted)


def test_grid_search_over_the_rate() -> None:
    search = GridSearchCV(a_classifier(), {"learning_rate": [1e-4, 1e-2]}, cv=KFold(2), scoring="neg_log_loss")
    search.fit(TEXTS, LABELS)
    assert search.best_params_["learning_rate"] in (1e-4, 1e-2)
    wanted = a_classifier(**search.best_params_).fit(TEXTS, LABELS)
    np.testing.assert_array_equal(search.predict_proba(TEXTS), wanted.predict_proba(TEXTS))


def test_a_pipeline_and_a_stack() -> None:
    frame = pd.DataFrame({"review": TEXTS, "stars": np.arange(18.0)})
    lower = Pipeline([("lower", FunctionTransformer(lambda X: X["review"].str.lower())), ("text", a_classifier())])
    only = ColumnTransformer([("keep", "passthrough", ["review"])]).set_output(transform="pandas")
    table = Pipeline([("only", only), ("text", a_classifier())])
    np.testing.assert_array_equal(
        lower.fit(frame, LABELS).predict_proba(frame), a_classifier().fit(TEXTS, LABELS).predict_proba(TEXTS)
    )
    stack = StackingClassifier(
        [("text", lower), ("columns", table), ("prior", DummyClassifier(strategy="prior"))],
        LogisticRegression(),
        cv=KFold(2),
    )
    stack.fit(frame, LABELS)
    assert stack.transform(frame).shape == (18, 9)
    np.testing.assert_array_equal(stack.transform(frame)[:, :3], stack.named_estimators_["text"].predict_proba(frame))
    assert set(stack.predict(frame)) <= set(LABELS)


def test_probabilities_are_calibrated() -> None:
    found = CalibratedClassifierCV(a_classifier(), cv=KFold(2)).fit(TEXTS, LABELS)
    assert found.predict_proba(TEXTS).shape == (18, 3)
    np.testing.assert_allclose(found.predict_proba(TEXTS).sum(axis=1), 1.0)


def test_settings_of_any_kind(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(f"model: {{tokenizer: {small.TOKENIZER}}}\ndata: {{type: table, label: other, batch_size: 3}}\n")
    rest = {name: value for name, value in small.FAST["settings"].items() if name not in ("tokenizer", "max_steps")}
    settings = {**rest, "validation": 0.3, "early_stopping": {"patience": 1}, "num_epochs": 2}
    found = StepbusClassifier(config=file, settings=settings).fit(TEXTS, LABELS)
    assert found.n_steps_ in (4, 8)  # epochs of 12 rows by 3
    assert "eval_loss" in found.history_
    folds = {**small.FAST["settings"], "cross_validation": {"folds": 3}}
    together = a_classifier(settings=folds).fit(TEXTS, LABELS)
    each = [one.predict(TEXTS_FRAME) for one in together.trainer_.fits]
    assert len(each) == 3
    np.testing.assert_allclose(together.predict_proba(TEXTS), np.mean(each, axis=0), rtol=1e-6)


@pytest.mark.parametrize("kind", [StepbusClassifier, StepbusRegressor])
def test_the_examples_run(kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(small.TOKENIZER, tmp_path / "tokenizer")
    monkeypatch.chdir(tmp_path)
    (example,) = doctest.DocTestFinder(recurse=False).find(kind, kind.__name__, globs={})
    found = doctest.DocTestRunner().run(example)
    assert (found.failed, found.attempted > 3) == (0, True)


def test_a_plugin_of_the_run_decides(tmp_path: Path) -> None:
    file = Path(__file__).parents[2] / "fixtures" / "prediction_plugins.py"
    config = {"plugins": {"threshold": {"use": f"{file}:Threshold"}}}
    settings = {**small.FAST["settings"], "validation": 0.5}
    found = a_classifier(config=config, settings=settings).fit(TEXTS[:8], [5, 3, 5, 3, 5, 3, 5, 3])
    decided = found.trainer_.predict_rows(TEXTS_FRAME)[0].decided
    assert decided is not None
    assert found.predict(TEXTS).tolist() == np.array([3, 5])[decided].tolist()
    assert found.predict(TEXTS).tolist() != found.classes_[found.predict_proba(TEXTS).argmax(axis=1)].tolist()


@pytest.mark.parametrize("y", [np.array(["yes", "no"] * 9), np.array([7, -3] * 9), np.array([True, False] * 9)])
def test_of_two_classes_the_second_is_said_from_the_threshold_on(y: np.ndarray[Any, Any]) -> None:
    first, second = np.unique(y)
    chances = a_classifier().fit(TEXTS, y).predict_proba(TEXTS)[:, 1]
    between = np.sort(np.unique(chances))
    for threshold in (0.001, *map(float, (between[1:] + between[:-1]) / 2), 0.999):
        found = a_classifier(settings={**small.FAST["settings"], "threshold": threshold}).fit(TEXTS, y)
        wanted = np.where(chances >= threshold, second, first)
        np.testing.assert_array_equal(found.predict(TEXTS), wanted)
        assert found.score(TEXTS, y) == np.mean(wanted == y)
        np.testing.assert_array_equal(found.predict_proba(TEXTS)[:, 1], chances)


def test_the_threshold_holds_in_a_cross_validation() -> None:
    y, folds = np.array(["yes", "no"] * 9), KFold(3)
    chances = cross_val_predict(a_classifier(), TEXTS, y, cv=folds, method="predict_proba")[:, 1]
    for threshold in (0.001, (float(chances.min()) + float(chances.max())) / 2, 0.999):
        estimator = a_classifier(settings={**small.FAST["settings"], "threshold": threshold})
        wanted = np.where(chances >= threshold, "yes", "no")
        np.testing.assert_array_equal(cross_val_predict(estimator, TEXTS, y, cv=folds), wanted)


def test_of_more_classes_a_threshold_is_refused() -> None:
    with pytest.raises(ValueError, match="threshold: expected none for more than two classes"):
        a_classifier(settings={**small.FAST["settings"], "threshold": 0.9}).fit(TEXTS, LABELS)


class Halve:
    """Halve what is predicted."""

    scope = "run"

    @hookimpl
    def finish_predictions(self, predictions: Predictions) -> Predictions:
        return evolve(predictions, values=predictions.values / 2)


def test_plugins_passed_in_python_go_with_the_estimator() -> None:
    plain = a_classifier().fit(TEXTS, LABELS).predict_proba(TEXTS)
    found = a_classifier(settings={**small.FAST["settings"], "plugins": [Halve]}).fit(TEXTS, LABELS)
    np.testing.assert_array_equal(found.predict_proba(TEXTS), plain / 2)
    np.testing.assert_array_equal(copy.deepcopy(found).predict_proba(TEXTS), plain / 2)
    config = create_trainer(plugins=[Halve]).config
    np.testing.assert_array_equal(a_classifier(config=config).fit(TEXTS, LABELS).predict_proba(TEXTS), plain / 2)
    once = {**small.FAST["settings"], "callbacks": iter([Halve])}
    np.testing.assert_array_equal(a_classifier(settings=once).fit(TEXTS, LABELS).predict_proba(TEXTS), plain / 2)
    with pytest.raises(ValueError, match="plugins: expected a list of classes"):
        a_classifier(settings={**small.FAST["settings"], "plugins": Halve}).fit(TEXTS, LABELS)


def test_the_screen_stays_empty(capfd: pytest.CaptureFixture[str]) -> None:
    a_classifier().fit(TEXTS, LABELS).predict(TEXTS)
    assert capfd.readouterr() == ("", "")
    a_classifier(verbose=True).fit(TEXTS, LABELS)
    assert "trained" in capfd.readouterr().out


def test_a_baseline_beside_it_takes_the_same() -> None:
    assert DummyRegressor().fit(TEXTS, VALUES).score(TEXTS, VALUES) == 0.0
    assert StepbusRegressor(**small.FAST).fit(TEXTS, VALUES).predict(TEXTS).shape == (18,)
