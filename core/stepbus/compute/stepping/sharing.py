"""One model, one optimizer and one set of compiled steps for the fits of a run that are alike in all that is compiled.

A fit that is like the one before it puts its own weights and optimizer state where the compiled steps read them, and
nothing is traced anew for shapes that were seen. Its bits are those of a fit with objects of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx
import mlx.nn as nn

from stepbus.compute import Forward
from stepbus.compute.stepping.fingerprints import Unknown, leaves, of_model, of_value
from stepbus.compute.stepping.held import Held, held, same_held
from stepbus.compute.stepping.parts import StepParts
from stepbus.compute.stepping.traced import Traced
from stepbus.compute.stepping.updater import ParameterUpdater


class Shared:
    """What the fits of a run share."""

    def __init__(self) -> None:
        self._model: Any = None
        self._updater: ParameterUpdater | None = None
        self._traced: dict[int, Traced] = {}  # by the updates before the phase
        self._held: dict[int, Held] = {}  # likewise, by what was traced
        self._keys: dict[str, Any] = {}

    def model(self, model: nn.Module) -> Any:
        """Return the model of a fit: one that is there already, with the weights of this one, where they are alike.

        Args:
            model: The model of the fit, its weights in place.
        """
        if self._is_known("model", lambda: of_model(model)):
            into = self._model
            # In place: the compiled steps look into this very tree.
            for (holder, key, old), (_, _, new) in zip(list(leaves(into)), list(leaves(model)), strict=True):
                if isinstance(old, mx.array):
                    holder[key] = new
            for (_, one), (_, other) in zip(into.named_modules(), model.named_modules(), strict=True):
                one._no_grad = set(other._no_grad)  # which the last phase of a fit before may have changed
            vars(into).update(vars(model))
            return into
        self._model, self._updater = model, None
        self._traced.clear()
        self._held.clear()
        return model

    def updater(self, updater: ParameterUpdater) -> ParameterUpdater:
        """Return the optimizer of a fit: one that is there already, with the state of this one, where they are alike.

        Args:
            updater: The optimizer of the fit, its state made.
        """
        if self._is_known("updater", lambda: of_value(updater.traced_settings())) and self._updater is not None:
            self._updater.begin_as(updater)
            return self._updater
        self._updater = updater
        self._traced.clear()
        self._held.clear()
        return updater

    def traced(
        self,
        parts: StepParts,
        phase: tuple[int, Sequence[str]],
        precision: str,
        forward: Forward,
        keys: Sequence[tuple[str, Any]] | None,
    ) -> Traced:
        """Return the compiled functions of a fit, those that are there where everything that they are made of is alike.

        Args:
            parts: What plugins make of the step.
            phase: The updates before it, and the parameters that it trains.
            precision: The number format of the computation.
            forward: What the model makes of a batch.
            keys: Name -> trace key of each plugin that takes part in the computation; None where one has none.

        Raises:
            PluginError: The trace key of a plugin is equal and what its function holds is not.
        """

        def key() -> Any:
            if keys is None:
                raise Unknown("a plugin")
            made = [(name, of_value(each)) for name, each in keys]
            return [precision, of_value(forward), len(parts.transforms), list(phase[1]), made]

        start, _ = phase
        assert self._updater is not None  # a fit makes its optimizer before its steps
        followers = [(each.maker, each.function) for each in self._updater.followers.given]
        now = held([*parts.given, *followers]) if keys is not None else []
        known = self._is_known(f"traced from {start}", key) and start in self._traced
        if not known or not same_held(self._held[start], now):
            self._held[start] = now
            self._traced[start] = Traced(self._model, self._updater, parts, precision, forward)
        return self._traced[start]

    def _is_known(self, what: str, make: Callable[[], Any]) -> bool:
        """Return whether the key of something is that of the fit before, and remember it."""
        before = self._keys.get(what)
        try:
            now = make()
        except Unknown:
            now = None
        self._keys[what] = now
        return now is not None and bool(now == before)
