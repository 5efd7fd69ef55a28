"""The parts of a fit on loaders: which combinations are refused, what is said, and what a folder holds of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepbus import ConfigError, DataError, Fit, ModelError, create_model, load_config
from stepbus.compute import HeadForward, ModuleForward
from stepbus.fit.loaders import LoaderFits, is_module

# After the fast BLAS.
import mlx.nn as nn  # isort: skip

BATCHES = [{"x": np.ones((2, 3)), "labels": [0, 1]}]
CROSS_ENTROPY = nn.losses.cross_entropy


def fits(train: Any = BATCHES, validation: Any = None, given: Any = None, **sections: Any) -> LoaderFits:
    model = nn.Linear(3, 2) if given is None else given
    return LoaderFits(load_config(sections), model, train, validation, CROSS_ENTROPY)


@pytest.fixture
def classifier(tiny_config: Any) -> Any:
    section = {name: value for name, value in tiny_config()["model"].items() if name != "type"}
    return create_model("bert", **section)


def test_modules_are_told_from_classifiers(classifier: Any) -> None:
    assert is_module(nn.Linear(3, 2))
    assert not any(map(is_module, (classifier, nn.Linear, {}, None, "bert")))


def test_sets_are_loaders() -> None:
    found = fits(validation=BATCHES).sets()
    assert list(found) == ["train", "validation"]
    assert list(fits().sets()) == ["train"]


@pytest.mark.parametrize(
    ("train", "validation", "sections", "said"),
    [
        (None, None, {}, "train: expected an iterable of batches.*got none; hand it over: trainer.train"),
        (
            "a.csv",
            None,
            {},
            "train: expected an iterable.*because the model is a module of yours, got 'a.csv'",
        ),
        (None, None, {"data": {"train": "a.csv"}}, "data.train: expected an iterable of batches.*a.csv'"),
        (pd.DataFrame({"x": [1]}), None, {}, "train: .* got a DataFrame"),
        ([{"x": 1.0, "label": 1}], None, {}, "train: .* got a list"),
        ([], None, {}, "train: .* got an empty list"),
        (BATCHES, 0.1, {}, "validation: expected a loader of its own, because batches are not split, got 0.1"),
        (BATCHES, None, {"data": {"validation": 0.2}}, "data.validation: expected a loader of its own.* got 0.2"),
        (BATCHES, None, {"data": {"validation": "a.csv"}}, "data.validation: expected an iterable of batches"),
        (BATCHES, "a.csv", {}, "validation: expected an iterable of batches"),
    ],
)
def test_what_gives_no_batches_is_refused(train: Any, validation: Any, sections: Any, said: str) -> None:
    with pytest.raises(DataError, match=f"^{said}"):
        fits(train, validation, **sections).sets()


def test_a_loader_needs_a_model() -> None:
    with pytest.raises(DataError, match=r"^model: a loader gives no labels to build a model for; hand one over"):
        LoaderFits(load_config({}), None, BATCHES).sets()


def test_rows_beside_a_loader_are_refused(classifier: Any) -> None:
    with pytest.raises(DataError, match=r"^validation: .* because the other set is a loader, got 'a\.csv'"):
        fits(BATCHES, "a.csv", classifier).sets()


def test_every_problem_of_the_loaders_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        fits(iter(BATCHES), iter(BATCHES), training={"num_epochs": 2}, plugins={"cross_validation": {}}).sets()
    assert [problem.path for problem in caught.value.problems] == [
        "training.num_epochs",
        "",
        "plugins.cross_validation",
    ]


def test_several_fits_are_refused() -> None:
    whole = Fit("fit", {}, 1)
    fits().check([whole])
    with pytest.raises(DataError, match=r"^plugins: expected one fit, because .* got 2: fit and fit"):
        fits().check([whole, whole])


def test_the_task_is_that_of_the_settings_or_of_the_classifier(classifier: Any) -> None:
    assert fits().task is None
    assert fits(data={"task": "multiclass"}).task == "multiclass"
    assert fits(given=classifier).task == "binary"
    with pytest.raises(DataError, match=r"^data\.task: expected binary, as the model has it, got regression; leave it"):
        _ = fits(given=classifier, data={"task": "regression"}).task


def test_metrics_want_a_task() -> None:
    given = fits()
    data = given.data(Fit("fit", dict(given.sets()), 1))
    assert given.metrics(data) == ([], {"eval_loss": False, "train_loss": False})
    told = fits(data={"task": "multiclass"})
    assert "eval_accuracy" in told.metrics(told.data(Fit("fit", dict(told.sets()), 1)))[1]
    wanting = fits(training={"metrics": ["accuracy"]})
    with pytest.raises(ConfigError, match=r"training\.metrics: expected data\.task beside it .* got none"):
        wanting.metrics(data)


def test_settings_without_effect_are_said(classifier: Any) -> None:
    def notes(given: LoaderFits, per_epoch: int) -> list[str]:
        session = SimpleNamespace(
            state=SimpleNamespace(steps_per_epoch=per_epoch, total_steps=9), data=SimpleNamespace(notes=["of the data"])
        )
        return given.notes(session, [Fit("fit", {}, 1)])  # type: ignore[arg-type]

    data = {"batch_size": 3, "task": "binary", "text": "t", "threshold": 0.4}
    sections = {"data": data, "model": {"pooling": "cls"}, "training": {"num_epochs": 2, "max_steps": 9}}
    assert notes(fits(**sections), 0) == [
        "of the data",
        "training.num_epochs: it has no effect, because the training loader has no len(): training.max_steps ends the "
        "fit",
        "model.pooling: it has no effect, because the model is a module of yours",
        "data.batch_size: it has no effect, because the loader makes the batches",
        "data.text: it has no effect, because the loader makes the batches",
        "data.threshold: it has no effect, because the loader makes the batches; give metrics theirs: {type: accuracy, "
        "threshold: …}",
    ]
    assert notes(fits(), 3) == ["of the data"]
    assert any(
        line.startswith("training.max_steps: 9 updates are never reached") for line in notes(fits(**sections), 3)
    )
    ours = LoaderFits(load_config({"model": {"pooling": "cls"}}), classifier, BATCHES)
    assert notes(ours, 3) == ["of the data"]  # its section says what it was made from


def test_a_model_without_parameters_is_refused() -> None:
    with pytest.raises(ModelError, match=r"^model: expected parameters to train, got a ReLU without any"):
        fits(given=nn.ReLU()).model(SimpleNamespace(starts_from=""))  # type: ignore[arg-type]
    frozen = nn.Linear(3, 2)
    frozen.freeze()
    with pytest.raises(ModelError, match="expected parameters to train"):
        fits(given=frozen).model(SimpleNamespace(starts_from=""))  # type: ignore[arg-type]


def test_how_each_kind_of_model_is_called(classifier: Any) -> None:
    assert isinstance(fits().forward(), ModuleForward)
    assert isinstance(fits(given=classifier).forward(), HeadForward)


def test_code_and_loss_are_facts_that_a_resume_compares() -> None:
    given = fits()
    found = given.data(Fit("fit", dict(given.sets()), 1)).digests()
    assert found["model"] == "Linear"
    assert found["loss"].startswith("cross_entropy")
    other = LoaderFits(load_config({}), nn.Linear(3, 2), BATCHES, None, nn.losses.mse_loss)
    assert other.data(Fit("fit", dict(other.sets()), 1)).digests()["loss"] != found["loss"]


def test_a_folder_says_what_the_model_is(classifier: Any) -> None:
    mine = fits().exported(SimpleNamespace(model=nn.Linear(3, 2)))  # type: ignore[arg-type]
    assert (mine.config, mine.files) == ({"architectures": ["Linear"]}, {})
    assert mine.state["module"].endswith("Linear")
    ours = fits(given=classifier).exported(SimpleNamespace(model=classifier))  # type: ignore[arg-type]
    assert ours.config == classifier.config
