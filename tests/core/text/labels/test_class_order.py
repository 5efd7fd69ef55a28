"""Classes from the lowest to the highest."""

from __future__ import annotations

import pytest

from stepbus import DataError
from stepbus.text.labels.class_order import class_order


def test_the_places_of_the_classes_in_their_order() -> None:
    assert class_order(("bad", "good", "ok"), ("bad", "ok", "good"), "loss.order") == (0, 2, 1)
    assert class_order(("1", "2", "10"), None, "loss.order") == (0, 1, 2)
    assert class_order(("no", "yes"), None, "loss.order") == (0, 1)
    assert class_order(("1", "2", "3"), ("3", "2", "1"), "loss.order") == (2, 1, 0)


@pytest.mark.parametrize("order", [None, ("bad", "ok"), ("bad", "ok", "best"), ("bad", "ok", "ok", "good")])
def test_what_says_no_order_of_all_classes_is_refused(order: tuple[str, ...] | None) -> None:
    with pytest.raises(DataError, match=r"^loss\.order: expected "):
        class_order(("bad", "good", "ok"), order, "loss.order")
