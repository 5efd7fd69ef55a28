"""A loader that a training reads is told no epoch by anybody else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from stepbus import DataError, create_trainer, hookimpl
from stepbus.fit.loaders.shared import check_apart, check_free, reading

# After the fast BLAS.
import mlx.core as mx  # isort: skip
import mlx.nn as nn  # isort: skip

X = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int32)


class Shuffled:
    """Batches in the order of an epoch, which is read at each of them."""

    def __init__(self) -> None:
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return 6

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for place in range(6):
            rows = np.random.default_rng(self.epoch).permutation(24)[4 * place : 4 * place + 4]
            yield {"x": X[rows], "labels": Y[rows]}


class Around:
    """Another name for it."""

    def __init__(self, inner: Shuffled) -> None:
        self.inner = inner

    def set_epoch(self, epoch: int) -> None:
        self.inner.set_epoch(epoch)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.inner)


class HeardLosses:
    """Notes losses, and does something else after each step."""

    affects_result = False

    def __init__(self, then: Any = lambda: None) -> None:
        self.losses: list[float] = []
        self.then = then

    @hookimpl
    def on_step_end(self, step: Any) -> None:
        self.losses.append(step.loss)
        self.then()


def trainer(folder: Any, plugin: Any, **settings: Any) -> Any:
    mx.random.seed(3)
    settings = {"num_epochs": 3, "progress": False, "output_dir": str(folder), **settings}
    return create_trainer(nn.Linear(3, 2), loss=nn.losses.cross_entropy, plugins=[plugin], **settings)


SAID = "expected a loader of its own, because set_epoch would move the training, .* got "


@pytest.mark.parametrize("wrap", [lambda one: one, Around, lambda one: Around(Around(one))])
def test_one_object_is_not_for_training_and_validation(wrap: Any, tmp_path: Any) -> None:
    one = Shuffled()
    got = "the training loader" if wrap(one) is one else "one that shares its Shuffled"
    with pytest.raises(DataError, match=f"^validation: {SAID}{got}; hand over a second object, or a function"):
        trainer(tmp_path, HeardLosses()).train(one, wrap(one))
    with pytest.raises(DataError, match=f"^test: {SAID}{got}"):
        trainer(tmp_path, HeardLosses()).train(one, test=wrap(one))
    if wrap(one) is not one:
        with pytest.raises(DataError, match=f"^validation: {SAID}{got}"):
            trainer(tmp_path, HeardLosses()).train(wrap(one), one)


def test_training_does_not_depend_on_being_evaluated(tmp_path: Any) -> None:
    alone, beside = HeardLosses(), HeardLosses()
    trainer(tmp_path, alone).train(Shuffled())
    result = trainer(tmp_path, beside, training={"eval_steps": 1}).train(Shuffled(), Shuffled())
    assert alone.losses == beside.losses
    assert len(set(alone.losses)) > 6
    assert result.metrics["eval_loss"] > 0


@pytest.mark.parametrize("call", ["evaluate", "predict"])
def test_a_hook_may_not_move_the_training(call: str, tmp_path: Any) -> None:
    one, refused = Shuffled(), list[str]()

    def look() -> None:
        for source in (one, Shuffled(), Around(one)):
            try:
                getattr(other, call)(source)
            except DataError as error:
                refused.append(str(error))

    alone, beside = HeardLosses(), HeardLosses(look)
    trainer(tmp_path / "a", alone).train(Shuffled())
    other = trainer(tmp_path / "b", HeardLosses())
    trainer(tmp_path / "c", beside).train(one)
    assert beside.losses == alone.losses
    assert any("got the training loader" in each for each in refused)
    assert any("one that shares its Shuffled" in each for each in refused)
    assert len(getattr(other, call)(one)) > 0  # the training is over


def test_what_was_read_is_free_again() -> None:
    one = Shuffled()
    with pytest.raises(RuntimeError), reading(one), reading(one):
        with pytest.raises(DataError, match=f"^data: {SAID}the training loader"):
            check_free(one, "data")
        raise RuntimeError
    check_free(one, "data")
    check_apart([], one, "data")
    check_apart(one, [], "data")
