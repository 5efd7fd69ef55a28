"""Tiny real fits with a plugin that changes what is computed: one comes to its end, one is cut and ends the same."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from stepbus.base import Interrupted, StepbusError, error_words, hookimpl
from stepbus.testing.tiny.fit import TinyFit, tiny_fit

EPOCHS = 2


class Cuts:
    """Let a signal arrive during an update."""

    affects_result = False

    def __init__(self, step: int) -> None:
        self.step = step

    @hookimpl
    def on_step_end(self, trainer: Any, state: Any) -> None:
        """Let it arrive."""
        if state.step == self.step:
            trainer.run.signal = signal.SIGINT


def _on_cpu(more: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of a fit that computes on the CPU: on a GPU, no two fits agree to the bit."""
    given = more.get("environment", {})
    return {**more, "environment": {"device": "cpu", **given}} if isinstance(given, Mapping) else dict(more)


@contextmanager
def _device_put_back() -> Iterator[None]:
    """Let who rehearses compute on afterwards where it did before."""
    from stepbus.device import backend

    before = backend.mx.default_device()
    try:
        yield
    finally:
        backend.mx.set_default_device(before)


def rehearse(cls: type, settings: Any, beside: Sequence[Any], more: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the rule that a plugin breaks in tiny real fits, and what was seen; None where it keeps them.

    Args:
        cls: The plugin.
        settings: Its settings.
        beside: Plugins that it cannot do without.
        more: What else `tiny_fit` takes.
    """
    more = {"num_epochs": EPOCHS, **_on_cpu(more)}
    with tempfile.TemporaryDirectory(prefix="stepbus-") as folder, _device_put_back():

        def fit(name: str, step: int, **again: Any) -> TinyFit:
            own = [*beside, Cuts(step)]
            return tiny_fit(cls, settings, beside=own, directory=Path(folder, name), **{**more, **again})

        try:
            whole = fit("whole", 0)
            cut = max(1, whole.result.steps // 2)
            try:
                fit("cut", cut)
            except Interrupted:
                resumed = fit("cut", 0, resume=True)
            else:
                return "resume equals uninterrupted", f"a tiny fit to be cut after update {cut} had ended before"
        except (Exception, SystemExit) as error:
            words = str(error) if isinstance(error, StepbusError) else error_words(error)
            mend = "if it needs more, hand it over (settings=, beside=, or tiny={…}, which tiny_fit takes)"
            return "trains a tiny model", f"{words}; {mend}"
        if found := _difference(whole, resumed):
            return "resume equals uninterrupted", f"a tiny real fit that was cut after update {cut} {found}"
    return None


def _difference(whole: TinyFit, resumed: TinyFit) -> str:
    """Return in words what of a fit that was cut is otherwise, or nothing."""
    one, other = ({name: np.array(array) for name, array in _tensors(each)} for each in (whole, resumed))
    if one.keys() != other.keys():
        name = sorted(one.keys() ^ other.keys())[0]
        return f"ends with another model: {name} is {'missing' if name in one else 'new'}"
    for name, array in one.items():
        if not np.array_equal(array, other[name], equal_nan=True):
            return f"ends with other weights: {name} differs"
    before, after = whole.result.metrics, resumed.result.metrics
    for name in sorted({*before, *after}):
        if not np.array_equal(before.get(name, ""), after.get(name, ""), equal_nan=name in before and name in after):
            return f"ends with another {name}: {after.get(name)} in place of {before.get(name)}"
    return ""


def _tensors(fit: TinyFit) -> Any:
    from mlx.utils import tree_flatten

    return tree_flatten(fit.trainer.fits[0].model.parameters())
