"""Code of the caller's that a resume compares, and what stands against a loader."""

from __future__ import annotations

import functools
from typing import Any

from stepbus import load_config
from stepbus.device import backend as backend
from stepbus.fit.loaders.given import code_of, is_written, makers_of_fits, only_once, words_of
from stepbus.fit.loaders.sources import Loader

# After the fast BLAS.
import mlx.nn as nn  # isort: skip


class Inner(nn.Module):
    """A part."""

    def __call__(self, x: Any) -> Any:
        return x + 1


class Other(nn.Module):
    """Another part."""

    def __call__(self, x: Any) -> Any:
        return x + 2


def squared(outputs: Any, labels: Any) -> Any:
    return (outputs - labels) ** 2


def cubed(outputs: Any, labels: Any) -> Any:
    return (outputs - labels) ** 3


def test_a_module_is_told_by_the_code_of_its_parts() -> None:
    assert code_of(nn.Sequential(nn.Linear(2, 3))) == "Sequential"
    one, same, other = (nn.Sequential(nn.Linear(2, 3), part) for part in (Inner(), Inner(), Other()))
    assert code_of(one) == code_of(same)
    assert code_of(one) != code_of(other)
    assert code_of(one).startswith("Sequential ")


def test_a_loss_is_told_by_its_code_and_what_is_fixed_in_it() -> None:
    assert words_of(None) == ""
    assert words_of(nn.losses.mse_loss) == words_of(nn.losses.mse_loss)
    assert words_of(squared) != words_of(cubed)
    smooth = [functools.partial(nn.losses.cross_entropy, label_smoothing=each) for each in (0.1, 0.1, 0.2)]
    assert words_of(smooth[0]) == words_of(smooth[1])
    assert words_of(smooth[0]) != words_of(smooth[2])
    assert "label_smoothing=0.1" in words_of(smooth[0])
    assert "0x" not in words_of(functools.partial(squared, object()))


def test_an_iterator_serves_one_epoch() -> None:
    def problems(name: str, **training: Any) -> list[str]:
        config = load_config({"training": {"max_steps": 3, **training}})
        return [str(problem) for problem in only_once(Loader(iter([1]), name), config)]

    assert problems("train") == []
    assert problems("train", num_epochs=1) == []
    (said,) = problems("train", num_epochs=2)
    assert said.startswith("training.num_epochs: expected 1, because the training loader is an iterator")
    (said,) = problems("validation")
    assert said.startswith(
        "validation: expected a loader that can be read at each evaluation, got an iterator; hand over"
    )
    assert only_once(Loader([1], "validation"), load_config({})) == []


def test_what_somebody_wrote() -> None:
    config = load_config({"training": {"num_epochs": 2}}, keywords={"data__batch_size": 3})
    assert [is_written(config, f"training.{name}") for name in ("num_epochs", "max_steps")] == [True, False]
    assert is_written(config, "data.batch_size")


def test_plugins_that_make_several_fits_are_named() -> None:
    assert makers_of_fits(load_config({})) == []
    (problem,) = makers_of_fits(load_config({"plugins": {"cross_validation": {}}}))
    assert problem.path == "plugins.cross_validation"
