"""What a fitted estimator holds: a folder that goes with it, and in a pickle all it needs, in any process."""

from __future__ import annotations

import copy
import gc
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV

from stepbus import BadInput, hookimpl, import_module
from stepbus_plugins.scikit_learn import EstimatorInputError, StepbusClassifier

small: Any = import_module(str(Path(__file__).parents[2] / "fixtures" / "estimators.py"))
TEXTS = ["a good film", "a bad film", "great plot", "awful plot"] * 3
LABELS = ["yes", "no"] * 6


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    folder = tmp_path / "room"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def fitted(**parameters: Any) -> StepbusClassifier:
    return StepbusClassifier(**{**small.FAST, **parameters}).fit(TEXTS, LABELS)


def names(folder: Path) -> list[str]:
    gc.collect()
    return [path.name for path in folder.iterdir()]


def test_a_temporary_folder_goes_with_the_estimator(room: Path) -> None:
    found = fitted()
    assert len(names(room)) == 1
    found.fit(TEXTS, LABELS)  # the first is in nobody's way
    assert len(names(room)) == 1
    found.predict(TEXTS)
    copied = pickle.loads(pickle.dumps(found))
    assert len(names(room)) == 1  # a copy that predicts nothing writes nothing
    np.testing.assert_array_equal(copied.predict_proba(TEXTS), found.predict_proba(TEXTS))
    assert len(names(room)) == 2
    del found
    assert len(names(room)) == 1
    copied.predict(TEXTS)
    del copied
    assert names(room) == []


def test_a_fit_that_fails_leaves_no_folder(room: Path) -> None:
    with pytest.raises(ValueError, match="num_epochs"):
        fitted(num_epochs=-1)
    with pytest.raises(ValueError, match="said twice"):
        fitted(settings={"num_epochs": 1}, num_epochs=1)
    estimator = StepbusClassifier(**{**small.FAST, "settings": {**small.SETTINGS, "tokenizer": str(room / "gone")}})
    with pytest.raises(ValueError, match="gone"):
        estimator.fit(TEXTS, LABELS)
    with pytest.raises(ValueError, match="not fitted"):
        estimator.predict(TEXTS)
    del estimator
    assert names(room) == []


def test_a_fit_that_fails_takes_the_one_before_with_it(room: Path) -> None:
    estimator = fitted()
    with pytest.raises(ValueError, match="num_epochs"):
        estimator.set_params(num_epochs=-1).fit(TEXTS, LABELS)
    with pytest.raises(ValueError, match="not fitted"):
        estimator.predict(TEXTS)
    estimator.set_params(num_epochs=None).fit(TEXTS, LABELS)
    with pytest.raises(ValueError, match="y: expected at least 2 classes"):
        estimator.fit(TEXTS, ["yes"] * 12)
    with pytest.raises(ValueError, match="not fitted"):
        estimator.predict(TEXTS)
    assert names(room) == []


def test_a_run_that_cannot_be_opened_is_a_value_error(tmp_path: Path) -> None:
    found = fitted(output_dir=tmp_path / "runs")
    shutil.rmtree(tmp_path / "runs" / "fits")
    for ask in (found.predict, found.predict_proba, found.decision_function, lambda _: found.trainer_):
        with pytest.raises(EstimatorInputError, match="runs"):
            ask(TEXTS)
    assert issubclass(EstimatorInputError, ValueError)


def test_a_pickle_holds_files_and_no_checkpoint(tmp_path: Path) -> None:
    found = fitted(output_dir=tmp_path / "runs")
    assert list((tmp_path / "runs").glob("fits/*/checkpoints/*"))
    files = found.fitted_run_.__getstate__()["files"]
    assert all(isinstance(content, bytes) for content in files.values())
    assert any(name.endswith("model/model.safetensors") for name in files)
    assert not [name for name in files if "checkpoint" in name or ".." in name]
    again = copy.deepcopy(found)
    shutil.rmtree(tmp_path / "runs")
    np.testing.assert_array_equal(again.predict_proba(TEXTS), pickle.loads(pickle.dumps(again)).predict_proba(TEXTS))
    with pytest.raises(BadInput, match=r"runs: expected the run that the estimator was fitted by.*fit it anew"):
        pickle.dumps(found)


def test_named_folders_are_kept(tmp_path: Path) -> None:
    first, second = fitted(output_dir=tmp_path / "runs"), fitted(output_dir=tmp_path / "runs")
    np.testing.assert_array_equal(first.predict_proba(TEXTS), second.predict_proba(TEXTS))
    del first, second
    assert sorted(names(tmp_path))[-2:] == ["runs", "runs-2"]


def test_another_process_predicts_the_same(tmp_path: Path) -> None:
    found = fitted(settings={**small.FAST["settings"], "cross_validation": {"folds": 2}})
    joblib.dump(found, tmp_path / "estimator.joblib")
    code = (
        "import joblib, numpy, sys\n"
        f"found = joblib.load({str(tmp_path / 'estimator.joblib')!r})\n"
        f"numpy.save({str(tmp_path / 'said.npy')!r}, found.predict_proba({TEXTS!r}))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "said.npy"), found.predict_proba(TEXTS))


class Stop:
    """Send a signal at the first update."""

    affects_result = False

    def __init__(self, number: int) -> None:
        self.number = number

    @hookimpl
    def on_step_end(self) -> None:
        signal.raise_signal(self.number)


def test_ctrl_c_ends_a_search_and_not_one_fit_of_it(room: Path, tmp_path: Path) -> None:
    """What scikit-learn takes for an error of one fit, it warns of, and goes on with the next."""
    settings = {**small.FAST["settings"], "plugins": [Stop(signal.SIGINT)]}
    search = GridSearchCV(StepbusClassifier(**{**small.FAST, "settings": settings}), {"num_epochs": [1, 2]}, cv=2)
    with pytest.raises(KeyboardInterrupt, match="interrupted; to go on later, name the parameter output_dir"):
        search.fit(TEXTS, LABELS)
    with pytest.raises(KeyboardInterrupt, match=r"a checkpoint was written: go on with .*runs"):
        fitted(settings=settings, output_dir=tmp_path / "runs")
    with pytest.raises(SystemExit) as ended:
        fitted(settings={**small.FAST["settings"], "plugins": [Stop(signal.SIGTERM)]})
    assert ended.value.code == 128 + signal.SIGTERM
    del search, ended
    assert names(room) == []


def test_threads_of_one_process() -> None:
    """Each thread computes by itself; the second pool's threads have the numbers of the first one's, which are gone."""
    alone = fitted().predict_proba(TEXTS)
    for _ in range(3):
        with ThreadPoolExecutor(2) as pool:
            fits = list(pool.map(lambda _: fitted(), range(2)))
        with ThreadPoolExecutor(2) as pool:
            said = list(pool.map(lambda each: each.predict_proba(TEXTS), [*fits, *fits]))
        for found in (*said, *(each.predict_proba(TEXTS) for each in fits)):
            np.testing.assert_array_equal(found, alone)
