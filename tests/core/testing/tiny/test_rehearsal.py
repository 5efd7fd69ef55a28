"""A rehearsal compares bits, so it computes where bits are promised: on the CPU, whatever the machine has."""

from __future__ import annotations

from typing import Any

import pytest

from stepbus import EnvironmentConfig, StepbusError
from stepbus.testing.tiny import rehearsal
from stepbus_plugins.ema import Ema

# After the fast BLAS.
import mlx.core as mx  # isort: skip


class Rehearsed:
    """What fits were asked for, and the devices that were chosen."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[Any] = []
        self.devices = [mx.Device(mx.gpu)]

        def fit(*_: Any, **more: Any) -> Any:
            self.asked.append(more.get("environment"))
            mx.set_default_device(mx.Device(mx.cpu))  # as a fit does
            raise StepbusError("enough")

        monkeypatch.setattr(rehearsal, "tiny_fit", fit)
        monkeypatch.setattr(mx, "default_device", lambda: self.devices[-1])
        monkeypatch.setattr(mx, "set_default_device", self.devices.append)


@pytest.mark.parametrize(
    ("more", "environment"),
    [
        ({}, {"device": "cpu"}),
        ({"environment": {"debug": True}}, {"device": "cpu", "debug": True}),
        ({"environment": EnvironmentConfig(debug=True)}, {"device": "cpu", "debug": True}),
        ({"environment": EnvironmentConfig(device="auto")}, {"device": "auto"}),
        ({"environment": {"device": "auto"}}, {"device": "auto"}),
    ],
)
def test_fits_are_asked_for_on_the_cpu_and_the_device_is_put_back(
    more: dict[str, Any], environment: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rehearsed = Rehearsed(monkeypatch)
    assert rehearsal.rehearse(Ema, None, [], more) == (
        "trains a tiny model",
        "enough; if it needs more, hand it over (settings=, beside=, or tiny={…}, which tiny_fit takes)",
    )
    assert rehearsed.asked == [environment]
    assert rehearsed.devices == [mx.Device(mx.gpu), mx.Device(mx.cpu), mx.Device(mx.gpu)]


def test_a_plugin_that_keeps_the_rules_keeps_them_with_another_environment() -> None:
    assert rehearsal.rehearse(Ema, None, [], {"environment": {"debug": True}}) is None
