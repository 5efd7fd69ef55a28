from __future__ import annotations

import pytest
from stepbus.testing import assert_conforms

from stepbus_sample.restarts import CosineRestarts, CosineRestartsConfig, Restarts


def test_each_cycle_goes_from_the_base_rate_down() -> None:
    schedule = CosineRestarts(CosineRestartsConfig(cycles=2, min_lr=0.2))
    rates = [schedule.rate(step, 8, 1.0) for step in range(8)]
    assert rates[:4] == rates[4:]
    assert rates[0] == 1.0
    assert rates[2] == pytest.approx(0.6)  # half of the way from 1.0 to 0.2
    assert rates[:4] == sorted(rates[:4], reverse=True) and min(rates) > 0.2


def test_the_warm_up_comes_before_the_first_cycle() -> None:
    schedule = CosineRestarts(CosineRestartsConfig(cycles=3, warmup_steps=4))
    assert [schedule.rate(step, 10, 1.0) for step in (0, 2, 4, 6)] == [0.0, 0.5, 1.0, 1.0]


def test_it_keeps_what_every_plugin_keeps() -> None:
    assert_conforms(Restarts)
