"""`tiny_fit`: a real run in a second, with a plugin of any form in it."""

from __future__ import annotations

import gc
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from attrs import define

from stepbus import (
    Component,
    ConfigError,
    Metric,
    Optimizer,
    OptimizerSettings,
    PluginFailure,
    Scheduler,
    SchedulerSettings,
    hookimpl,
    mx,
    setting,
)
from stepbus.testing import tiny_fit


@define(frozen=True, kw_only=True)
class HalvesConfig(OptimizerSettings):
    """Halve each parameter."""

    factor: float = setting(0.5, "what stays of a parameter")


class Halving(Optimizer):
    def __init__(self, settings: HalvesConfig) -> None:
        self.settings = settings

    def init(self, parameter: Any) -> Any:
        return {}

    def update(self, parameter: Any, gradient: Any, state: Any, scalars: Any) -> Any:
        return parameter * self.settings.factor, {}


class Halves:
    """Offer an optimizer that shrinks."""

    components: ClassVar[list[Component]] = [Component("optimizer", "halves", HalvesConfig, Halving)]


class Norms:
    """Log how large a parameter is."""

    @define(frozen=True, kw_only=True)
    class Config:
        prefix: str = setting("size", "what stands before the name")

    def __init__(self, config: Config) -> None:
        self.config = config

    @hookimpl
    def parameter_groups(self, model: Any) -> dict[str, dict[str, float]]:
        return {"head.bias": {"learning_rate_scale": 0.0}}

    @hookimpl
    def transform_gradients(self) -> Any:
        return lambda gradients: (gradients, {f"{self.config.prefix}_bias": mx.sum(gradients["head"]["bias"])})


def test_without_a_plugin_it_trains() -> None:
    done = tiny_fit()
    assert (done.result.status, done.result.steps, len(done.records)) == ("ok", 6, 6)
    assert done.result.metrics["eval_loss"] < 0.69
    assert done.result.predictions["validation"].values.shape == (12, 2)
    assert done.trainer.predict({"text": ["good", "anything at all, 3.5!"]}).shape == (2, 2)


def test_an_optimizer_by_its_type_changes_the_weights_as_it_says() -> None:
    done = tiny_fit(Halves, optimizer={"type": "halves", "factor": 0.0}, num_epochs=1)
    assert not any(np.abs(np.array(array)).max() for array in done.trainer.model.tensors().values())


@pytest.mark.parametrize("given", [Norms(Norms.Config()), (Norms, {"prefix": "size"}), (Norms, Norms.Config())])
def test_hooks_of_the_compiled_step(given: Any) -> None:
    plugin, settings = given if isinstance(given, tuple) else (given, None)
    done = tiny_fit(plugin, settings, num_epochs=1)
    assert all("size_bias" in record for record in done.records)
    # With a scale of 0 the bias stays what it was, which is 0.
    assert not np.array(done.trainer.model.head.bias).any()


def test_classes_that_a_function_makes_and_several_at_once() -> None:
    class Third(Metric):
        def update(self, predictions: Any, targets: Any) -> None:
            self.number = len(targets)

        def compute(self) -> float:
            return float(self.number)

    class Offers:
        """Offer a metric."""

        components: ClassVar[list[Component]] = [Third.component("third", greater_is_better=True)]

    class Steep(Scheduler):
        def decayed(self, step: int, total_steps: int, base: float) -> float:
            return base / (step + 1)

    class Schedules:
        """Offer a schedule."""

        components: ClassVar[list[Component]] = [Component("scheduler", "steep", SchedulerSettings, Steep)]

    done = tiny_fit(
        Offers, beside=[Schedules, (Norms, {"prefix": "n"})], metrics=["third"], scheduler={"type": "steep"}
    )
    assert done.result.metrics["eval_third"] == 12.0
    rates = [record["learning_rate"] for record in done.records]
    assert rates == pytest.approx([1e-2 / step for step in range(1, 7)], rel=1e-6)
    assert "n_bias" in done.records[0]


@pytest.mark.parametrize(("task", "outputs"), [("multiclass", 3), ("multilabel", 2), ("regression", 1)])
def test_a_task_has_its_label(task: str, outputs: int) -> None:
    done = tiny_fit(data={"task": task}, num_epochs=1)
    assert (done.trainer.model.task, done.trainer.model.outputs) == (task, outputs)


def test_folds_and_a_resume(tmp_path: Path) -> None:
    done = tiny_fit(cross_validation={"folds": 2}, validation=False, directory=tmp_path, num_epochs=1)
    assert len(done.trainer.fits) == 2
    assert done.trainer.predict({"text": ["good"]}).shape == (1, 2)
    again = tiny_fit(cross_validation={"folds": 2}, validation=False, directory=tmp_path, num_epochs=1, resume=True)
    assert again.names.count("on_step_end") == 0
    assert again.result.metrics == done.result.metrics


def test_what_is_wrong_is_said_as_by_a_run_and_nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Raises:
        """Raise."""

        @hookimpl
        def on_step_end(self) -> None:
            raise ValueError("no more")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    with pytest.raises(ConfigError, match=r"plugins\.norms\.prefx: .*did you mean 'prefix'.* \(norms, test_fit\.py\)"):
        tiny_fit(Norms, {"prefx": "a"})
    with pytest.raises(PluginFailure, match=r"raises, test_fit\.py: on_step_end raised ValueError at step 1: no more"):
        tiny_fit(Raises)
    gc.collect()
    assert list((tmp_path / "temporary").iterdir()) == []


def test_its_folder_lasts_as_long_as_the_result() -> None:
    done = tiny_fit(num_epochs=1)
    folder = done.directory
    assert done.result.model_path is not None and done.result.model_path.is_dir()
    del done
    gc.collect()
    assert not folder.exists()


def test_rows_to_predict_have_no_labels() -> None:
    done = tiny_fit(rows=8, test=True, num_epochs=1, training={"max_steps": 1})
    said = done.result.predictions["test"]
    assert (said.values.shape, said.labels) == ((6, 2), None)
    assert len(set(said.row_ids)) == 6 and not [text for text in done.messages if "labels" in text]
    assert "test" not in tiny_fit(rows=8, num_epochs=1, training={"max_steps": 1}).result.predictions
