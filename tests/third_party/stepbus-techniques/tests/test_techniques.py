"""Each plugin against a computation of its own, and against what every plugin keeps."""

from typing import Any

import numpy as np
import pytest
from stepbus import ConfigError, PluginFailure, hookimpl
from stepbus.testing import assert_conforms, play, tiny_fit

from stepbus_techniques.average import WeightAverage
from stepbus_techniques.nudged import NudgedEmbeddings
from stepbus_techniques.passes import TwoPasses

SGD = {
    "optimizer": {"type": "sgd", "learning_rate": 1e-2},
    "scheduler": {"type": "constant"},
    "gradient_clipping": False,
}
STILL = {"dropout": 0.0, "hidden_dropout": 0.0, "attention_dropout": 0.0}


class Weights:
    """Note the training weights before the first update and after each."""

    affects_result = False

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    @hookimpl
    def on_fit_start(self, trainer: Any) -> None:
        self.note(trainer)

    @hookimpl
    def on_step_end(self, trainer: Any) -> None:
        self.note(trainer)

    def note(self, trainer: Any) -> None:
        now = trainer.optimizer.trained(trainer.model)
        self.seen.append({name: np.array(array, dtype=np.float64) for name, array in now.items()})


@pytest.mark.parametrize("plugin", [WeightAverage, TwoPasses, NudgedEmbeddings])
def test_they_keep_what_every_plugin_keeps(plugin: type) -> None:
    assert_conforms(plugin)


def test_the_average_is_what_is_exported() -> None:
    weights = Weights()
    done = tiny_fit(WeightAverage, {"decay": 0.8}, beside=[weights])
    mean, *rest = weights.seen
    for now in rest:
        mean = {name: 0.8 * array + 0.2 * now[name] for name, array in mean.items()}
    assert len(rest) == 6
    exported = {name: np.array(array) for name, array in done.trainer.model.tensors().items()}
    # Files name the encoder's weights as Hugging Face does.
    assert np.abs(exported["classifier.bias"] - mean["head.bias"]).max() < 1e-6
    assert np.abs(mean["head.bias"] - weights.seen[-1]["head.bias"]).max() > 1e-5


def test_two_passes_without_dropout_are_one() -> None:
    plain = tiny_fit(num_epochs=1, model=STILL, **SGD)
    twice = tiny_fit(TwoPasses, num_epochs=1, model=STILL, **SGD)
    for one, other in zip(plain.records, twice.records, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], abs=1e-6)
        assert other["apart"] == pytest.approx(0.0, abs=1e-6)


def test_two_passes_are_apart() -> None:
    records = tiny_fit(TwoPasses, {"alpha": 2.0}, num_epochs=1, model=dict.fromkeys(STILL, 0.3)).records
    assert all(record["apart"] > 0 for record in records)


def test_the_second_gradient_counts_from_its_epoch_on() -> None:
    def weights(**settings: Any) -> list[dict[str, Any]]:
        seen = Weights()
        tiny_fit(NudgedEmbeddings if settings else None, settings or None, beside=[seen], model=STILL, **SGD)
        return seen.seen

    plain, late, far = weights(), weights(from_epoch=2), weights(epsilon=1e-9)
    first = {name: late[1][name] - late[0][name] for name in late[0]}
    for name, array in first.items():  # three updates an epoch
        np.testing.assert_array_equal(plain[1][name], late[1][name])
        np.testing.assert_array_equal(plain[3][name], late[3][name])
        # Moved by next to nothing, the sum of both gradients is the gradient twice.
        np.testing.assert_allclose(far[1][name] - far[0][name], 2 * array, atol=5e-7)
    assert any(np.abs(plain[4][name] - late[4][name]).max() > 1e-6 for name in first)


def test_an_epoch_that_never_comes() -> None:
    with pytest.raises(ConfigError, match="from_epoch: expected at most 2 epochs, got 3"):
        play((NudgedEmbeddings, {"from_epoch": 3}))


def test_the_order_of_a_run_can_be_seen() -> None:
    played = play((NudgedEmbeddings, {"from_epoch": 2}), TwoPasses, WeightAverage, steps_per_epoch=3)
    assert played.names.count("wrap_loss") == played.names.count("wrap_gradient") == 2
    assert played.names.count("after_update") == 1


class Forgets(TwoPasses):
    """Make the new loss, and forget to give it back."""

    @hookimpl
    def wrap_loss(self, loss: Any) -> None:
        self.made = super().wrap_loss(loss)


class Mean(TwoPasses):
    """Give the mean of the rows in place of the rows."""

    @hookimpl
    def wrap_loss(self, loss: Any) -> Any:
        def mean(forward: Any, batch: Any) -> Any:
            rows, named = loss(forward, batch)
            return rows.mean(), named

        return mean


class Peeks(TwoPasses):
    """Look at the loss while the step is compiled."""

    @hookimpl
    def wrap_loss(self, loss: Any) -> Any:
        def peeks(forward: Any, batch: Any) -> Any:
            rows, named = loss(forward, batch)
            return rows * (2.0 if float(rows.sum()) > 1 else 1.0), named

        return peeks


@pytest.mark.parametrize(
    ("plugin", "words"),
    [
        (Forgets, '"is well made": wrap_loss returns nothing, and so changes nothing'),
        (
            Mean,
            r'"is well made": wrap_loss: expected \(row losses \[B\].* row losses \[8\] here',
        ),
        (
            Peeks,
            '"is well made": wrap_loss: its loss reads the value of an array at .*test_techniques.py:',
        ),
    ],
)
def test_the_kit_says_what_is_wrong(plugin: type, words: str) -> None:
    with pytest.raises(AssertionError, match=rf"^{plugin.__name__} breaks the rule {words}"):
        assert_conforms(plugin)


def test_a_real_fit_says_it_too() -> None:
    with pytest.raises(PluginFailure, match="wrap_loss: its loss reads the value of an array"):
        tiny_fit(Peeks, num_epochs=1)
