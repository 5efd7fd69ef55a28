"""Settings that a Python call names: remembered as they were set, compared, printed, and never changed."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

from stepbus import OptimizerConfig, TrainingConfig
from stepbus.base.trees import Mark, from_python


def test_what_was_set_is_remembered_and_nothing_else() -> None:
    made = TrainingConfig(num_epochs=3, max_steps=None)
    assert dict(made) == {"num_epochs": 3, "max_steps": None}
    assert (made.num_epochs, made.max_steps, len(made), "seed" in made) == (3, None, 2, False)
    assert repr(made) == "TrainingConfig(num_epochs=3, max_steps=None)"
    assert repr(TrainingConfig()) == "TrainingConfig()" and not TrainingConfig()
    with pytest.raises(AttributeError, match=r"TrainingConfig sets num_epochs, max_steps, and no seed: that stays"):
        _ = made.seed
    assert not hasattr(made, "_repr_html_")


def test_two_are_equal_where_class_and_settings_are() -> None:
    assert TrainingConfig(num_epochs=3, seed=1) == TrainingConfig(seed=1, num_epochs=3)
    assert hash(TrainingConfig(num_epochs=3, seed=1)) == hash(TrainingConfig(seed=1, num_epochs=3))
    assert TrainingConfig(num_epochs=3) != TrainingConfig(num_epochs=4)
    assert TrainingConfig(num_epochs=3) != TrainingConfig()
    assert TrainingConfig() != OptimizerConfig()
    assert TrainingConfig(num_epochs=3) != {"num_epochs": 3}


def test_it_cannot_be_changed() -> None:
    names = ["f1"]
    made = TrainingConfig(num_epochs=3, metrics=names)
    with pytest.raises(AttributeError, match="TrainingConfig cannot be changed; make another with num_epochs=4"):
        made.num_epochs = 4
    with pytest.raises(AttributeError, match="TrainingConfig cannot be changed; make another without num_epochs"):
        del made.num_epochs
    with pytest.raises(TypeError):
        made["num_epochs"] = 4  # type: ignore[index]
    names.append("accuracy")
    assert made.metrics == ["f1"]


def test_copies_are_equal() -> None:
    made = OptimizerConfig("sgd", momentum=0.5, own=(1, 2))
    assert made == copy.copy(made) == copy.deepcopy(made) == pickle.loads(pickle.dumps(made))
    assert OptimizerConfig(**made) == made


def test_editors_are_told_of_every_keyword() -> None:
    shown = inspect.signature(OptimizerConfig)
    assert list(shown.parameters)[:3] == ["type", "learning_rate", "weight_decay"]
    assert str(shown.parameters["learning_rate"]) == "learning_rate: 'float' = <not set>"


def test_its_values_are_marked_as_those_of_the_section() -> None:
    tree = from_python({"optimizer": OptimizerConfig(momentum=0.9), "training": {"seed": 1}}, Mark())
    assert tree.value["optimizer"].mark.flat == tree.value["optimizer"].value["momentum"].mark.flat == "optimizer"
    assert tree.value["training"].value["seed"].mark.flat == ""
