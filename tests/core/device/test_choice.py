"""What computes, chosen anew each time; and the multiple of padded lengths, the same for whatever computes there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import pytest

from stepbus import Trainer
from stepbus.base.errors import BadInput
from stepbus.device import choice as device
from stepbus.testing import Recorder


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Return a function that makes MLX see a card, or none; no card is at hand, so what is chosen is written down."""

    def make(*, metal: bool = False, cuda: bool = False) -> dict[str, Any]:
        chosen: dict[str, Any] = {"device": mx.Device(mx.gpu if metal or cuda else mx.cpu)}
        monkeypatch.setattr(mx.metal, "is_available", lambda: metal)
        monkeypatch.setattr(mx.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(mx, "set_default_device", lambda wanted: chosen.update(device=wanted))
        monkeypatch.setattr(mx, "default_device", lambda: chosen["device"])
        return chosen

    return make


@pytest.mark.parametrize(("card", "kind"), [({"metal": True}, "metal"), ({"cuda": True}, "cuda"), ({}, "cpu")])
def test_auto_is_the_machines_own_device_each_time(
    machine: Callable[..., Any], card: dict[str, bool], kind: str
) -> None:
    machine(**card)
    seen = []
    for wanted in ("auto", "cpu", "auto", "cpu", "cpu", "auto"):
        device.choose(wanted)
        seen.append(device.kind())
    assert seen == [kind, "cpu", kind, "cpu", "cpu", kind]


def test_a_card_that_is_not_there_is_refused_and_nothing_changes(machine: Callable[..., Any]) -> None:
    chosen = machine()
    with pytest.raises(
        BadInput, match=r"environment\.device: expected a GPU, and MLX finds none here; set device: auto"
    ):
        device.choose("gpu")
    assert chosen["device"] == mx.Device(mx.cpu)


@pytest.mark.parametrize(("card", "multiple"), [({"cuda": True}, 128), ({"metal": True}, 8), ({}, 8)])
def test_the_multiple_of_lengths_is_the_devices(
    machine: Callable[..., Any], card: dict[str, bool], multiple: int
) -> None:
    machine(**card)
    assert device.length_multiple() == multiple


@pytest.mark.parametrize(("card", "rounding"), [({"cuda": True}, 0.01), ({"metal": True}, 0.01), ({}, 0.0)])
def test_gpus_alone_may_round_the_factors_of_a_product(
    machine: Callable[..., Any], card: dict[str, bool], rounding: float
) -> None:
    machine(**card)
    device.choose("auto")
    assert device.product_rounding() == rounding
    device.choose("cpu")
    assert device.product_rounding() == 0.0


def test_training_evaluation_and_prediction_pad_to_the_same_multiple(
    tiny_config: Callable[..., dict[str, Any]], review_files: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """4 in place of 8 or 128: every length of every batch that the device gets is a multiple of it, and not of 8."""
    from stepbus import load_config
    from stepbus.compute.stepping import steps

    monkeypatch.setattr(device, "length_multiple", lambda: 4)
    lengths: dict[str, set[int]] = {"train": set(), "evaluate": set()}

    def noting(where: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, given: Any, *rest: Any) -> Any:
            for batch in given if where == "train" else [given]:
                lengths[where].add(batch.input_ids.shape[1])
            return inner(self, given, *rest)

        return call

    for name, where in (("launch", "train"), ("evaluate", "evaluate")):
        monkeypatch.setattr(steps.CompiledSteps, name, noting(where, getattr(steps.CompiledSteps, name)))
    trainer = Trainer(load_config(tiny_config(training={"num_epochs": 1})), plugins=[Recorder()])
    trainer.train()
    evaluated = set(lengths["evaluate"])
    lengths["evaluate"].clear()
    trainer.predict(str(review_files["dev"]))
    for found in (lengths["train"], evaluated, lengths["evaluate"]):
        assert found
        assert all(length % 4 == 0 for length in found)
        assert any(length % 8 for length in found)


@pytest.mark.parametrize(
    ("kind", "architecture", "fast"),
    [
        ("cpu", "x86_64", False),
        ("cpu", "arm64", False),
        ("metal", "applegpu_g13s", False),  # M1, which emulates it, as the M2 does
        ("metal", "applegpu_g14g", False),
        ("metal", "applegpu_g15d", True),  # M3 Max
        ("metal", "applegpu_g16s", True),
        ("metal", "applegpu_g17p", True),
        ("metal", "", False),
        ("metal", "something new", False),
        ("cuda", "sm_70", False),
        ("cuda", "sm_75", False),  # T4
        ("cuda", "sm_80", True),  # A100
        ("cuda", "sm_89", True),
        ("cuda", "sm_90", True),
        ("cuda", "sm_120", True),
        ("cuda", "", False),
    ],
)
def test_where_auto_is_bfloat16(kind: str, architecture: str, fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert device.has_fast_bfloat16(kind, architecture) == fast
    monkeypatch.setattr(device, "kind", lambda: kind)
    monkeypatch.setattr(device, "architecture", lambda: architecture)
    assert device.effective_precision("auto") == ("bfloat16" if fast else "float32")
    for named in ("float32", "bfloat16", "float16"):
        assert device.effective_precision(named) == named


def test_mlx_says_what_it_computes_on() -> None:
    assert device.architecture() == mx.device_info(mx.default_device().type)["architecture"]
