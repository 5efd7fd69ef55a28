"""What a training step of somebody's own does not go with, named by both."""

from __future__ import annotations

from typing import Any

import pytest

from stepbus import ConfigError, hookimpl
from stepbus.testing import LateRecorder, Recorder, planned


class Steps:
    @hookimpl
    def training_step(self) -> None: ...


class Others:
    @hookimpl
    def training_step(self) -> None: ...


class Losses:
    @hookimpl
    def wrap_loss(self) -> None: ...


class Gradients:
    @hookimpl
    def wrap_gradient(self) -> None: ...


def problems(*plugins: Any, **training: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        planned(*plugins, **training)
    return str(caught.value).splitlines()


MADE = f"steps, {__name__} makes the training step (training_step)"


def test_each_is_named_beside_the_step() -> None:
    assert problems(Losses, Gradients, Steps) == [
        f"plugins.losses: {MADE}, and losses, {__name__} changes the loss of the engine's own step (wrap_loss), "
        "which would never be called; do without one of them",
        f"plugins.gradients: {MADE}, and gradients, {__name__} changes the gradient of the engine's own step "
        "(wrap_gradient), which would never be called; do without one of them",
    ]


def test_two_steps() -> None:
    assert problems(Steps, Others) == [
        f"plugins.others: {MADE}, and others, {__name__} would make another one (training_step), which would "
        "never be called; do without one of them"
    ]


def test_accumulation() -> None:
    assert problems(Steps, gradient_accumulation_steps=4) == [
        f"training.gradient_accumulation_steps: expected 1, because {MADE}, an update of each batch, got 4; leave it "
        "out, or that step"
    ]


def test_what_goes_together() -> None:
    assert planned(Steps)
    assert planned(Losses, Gradients, gradient_accumulation_steps=4)
    assert planned(Steps, Recorder(), LateRecorder())
