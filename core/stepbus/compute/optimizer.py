"""From gradients to new parameters inside the compiled step: the optimizer's contract and its state.

`ParameterUpdater` is what plugins know as `trainer.optimizer`. It owns the state of every parameter; an `Optimizer`
is a pair of pure functions of one parameter's arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx
from mlx.utils import tree_flatten, tree_map_with_path

from stepbus.base import CheckpointError, PluginError
from stepbus.base.guards import Maker
from stepbus.compute.checks import GROUP_SETTINGS as GROUP_SETTINGS
from stepbus.compute.checks import check_groups, checked_scalars, checked_state, checked_update

State = dict[str, mx.array]
Scalars = dict[str, mx.array]


class Optimizer:
    """How one parameter is updated; subclasses hold settings, and no arrays."""

    def for_parameter(self, name: str, parameter: mx.array) -> Optimizer:
        """Return the optimizer of one parameter: this one, unless a rule by name or shape picks another."""
        return self

    def init(self, parameter: mx.array) -> State:
        """Return the state of a parameter before its first update; float32 arrays by name, or none.

        Args:
            parameter: The parameter, in float32.
        """
        raise NotImplementedError(f"{type(self).__name__} has no init(parameter); write it")

    def scalars(self, learning_rate: mx.array, weight_decay: float, step: mx.array) -> Scalars:
        """Return the 0-d numbers that `update` needs, each computed once for all parameters of one group.

        Args:
            learning_rate: The rate in use, 0-d float32.
            weight_decay: A constant of the group.
            step: The number of this update from 1, 0-d float32.
        """
        return {"learning_rate": learning_rate, "weight_decay": mx.array(weight_decay), "step": step}

    def update(self, parameter: mx.array, gradient: mx.array, state: State, scalars: Scalars) -> tuple[mx.array, State]:
        """Return a parameter after one update, and its new state; a pure function, traced by `mx.compile`.

        Args:
            parameter: The parameter, in float32.
            gradient: Its gradient, in float32.
            state: What `init` or the update before returned.
            scalars: What `scalars` returned.
        """
        raise NotImplementedError(f"{type(self).__name__} has no update(parameter, gradient, state, scalars); write it")


def hoist(scalar: mx.array) -> mx.array:
    """Return a 0-d array unchanged, but computed once in a compiled function and not again for each element.

    `mx.compile` fuses what leads to a scalar into every kernel that uses it: a bias correction inside AdamW's kernel
    made an update ten times slower. A copy is no elementwise operation, so fusion ends there.
    """
    return mx.contiguous(scalar)


def no_decay_names(parameters: Any) -> list[str]:
    """Return the names of biases, norms and other vectors, which weight decay leaves alone.

    Args:
        parameters: A tree of arrays.
    """
    return [
        name
        for name, array in _flat(parameters).items()
        if array.ndim < 2 or name.rpartition(".")[2].endswith("bias") or "norm" in name.lower()
    ]


class ParameterUpdater:
    """The optimizer of a fit: base learning rate, parameter groups and state; plugins know it as `trainer.optimizer`.

    Args:
        optimizer: How one parameter is updated.
        learning_rate: The base learning rate.
        weight_decay: Weight decay of the parameters that no group names.
        groups: Parameter name -> settings of its own, of GROUP_SETTINGS.
        maker: How messages name the optimizer.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        learning_rate: float,
        weight_decay: float = 0.0,
        groups: Mapping[str, Mapping[str, float]] | None = None,
        maker: Maker | None = None,
    ) -> None:
        self._maker = maker or Maker(f"the optimizer {type(optimizer).__name__}")
        self._optimizer, self._weight_decay, self._groups = optimizer, weight_decay, dict(groups or {})
        self._learning_rate = float(learning_rate)
        self.on_change: Callable[[], None] = lambda: None  # told when the base rate becomes another one
        self._optimizers: dict[str, Optimizer] = {}
        self._streams: dict[str, mx.Stream] = {}
        self.state: dict[str, Any] = {
            "step": mx.array(0, dtype=mx.int32),
            "learning_rate": mx.array(learning_rate, dtype=mx.float32),
            "parameters": {},
        }

    @property
    def learning_rate(self) -> float:
        """The base learning rate; the rate in use is the schedule's function of it. Plugins may set it."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        if not (math.isfinite(value) and value >= 0):
            raise PluginError(f"expected a finite base learning rate of at least 0, got {value!r}")
        before, self._learning_rate = self._learning_rate, float(value)
        if self._learning_rate != before:
            self.on_change()

    def set_learning_rate(self, rate: float) -> None:
        """Put the rate in use for the next update where the compiled step reads it."""
        self.state["learning_rate"] = mx.array(rate, dtype=mx.float32)

    def init(self, parameters: Any, *, frozen: Iterable[str] = ()) -> None:
        """Make the state of all parameters that are trained.

        Args:
            parameters: A tree of arrays.
            frozen: Names of other parameters, which groups may name as well.

        Raises:
            PluginError: A group names no parameter, or a setting that groups do not have.
        """
        flat = _flat(parameters)
        check_groups(self._groups, {*flat, *frozen})
        self._streams = _shared_out(flat)
        for name, array in flat.items():
            with self._maker.calling("for_parameter"):
                self._optimizers[name] = picked = self._optimizer.for_parameter(name, array)
            if not isinstance(picked, Optimizer):
                got = "None" if picked is None else f"a {type(picked).__name__}"
                raise self._maker.fault(f"for_parameter: {name}: expected a stepbus.Optimizer, got {got}")
            with self._maker.calling("init"):
                state = picked.init(array.astype(mx.float32))
            self.state["parameters"][name] = checked_state(self._maker, name, state)
        with self._maker.calling("init"):
            mx.eval(self.state)

    def traced_settings(self) -> Any:
        """Return all that a compiled step takes as fixed: how each parameter is updated, and what its state is."""
        state = {name: (array.shape, str(array.dtype)) for name, array in self.arrays().items()}
        streams = {name: str(stream) for name, stream in self._streams.items()}
        groups = {name: dict(sorted(group.items())) for name, group in sorted(self._groups.items())}
        return [self._optimizer, self._weight_decay, groups, self._optimizers, streams, state]

    def begin_as(self, other: ParameterUpdater) -> None:
        """Take over the state of an optimizer with equal settings, in place, as the beginning of another fit.

        Args:
            other: That optimizer, which nobody uses any more.
        """
        self._learning_rate, self.on_change = other.learning_rate, lambda: None
        for name in ("step", "learning_rate"):
            self.state[name] = other.state[name]
        for name, state in self.state["parameters"].items():
            state.update(other.state["parameters"][name])

    def on_stream(self, name: str) -> AbstractContextManager[Any]:
        """Return a context in which operations run where the parameter of that name is updated."""
        stream = self._streams.get(name)
        return nullcontext() if stream is None else mx.stream(stream)

    def map(self, function: Callable[[mx.array], mx.array], gradients: Any) -> Any:
        """Return a tree with a function of each array, computed where that parameter is updated.

        There `mx.compile` fuses an elementwise function with the update, which saves a pass over the array.
        """

        def placed(name: str, array: mx.array) -> mx.array:
            with self.on_stream(name):
                return function(array)

        return tree_map_with_path(placed, gradients)

    def apply(self, gradients: Any, parameters: Any) -> Any:
        """Return the parameters after one update; called inside the compiled step, which captures `state`.

        Args:
            gradients: A tree of arrays.
            parameters: A tree that has at least the same arrays.
        """
        step = self.state["step"] + 1
        self.state["step"] = step
        number, rate = step.astype(mx.float32), self.state["learning_rate"]
        flat, states, maker = _flat(parameters), self.state["parameters"], self._maker
        shared: dict[tuple[int, str, float, float], Scalars] = {}

        def updated(name: str, gradient: mx.array) -> mx.array:
            group, parameter, optimizer = self._groups.get(name, {}), flat[name], self._optimizers[name]
            scale = float(group.get("learning_rate_scale", 1.0))
            decay = float(group.get("weight_decay", self._weight_decay))
            key = (id(optimizer), str(self._streams.get(name)), scale, decay)
            with self.on_stream(name):
                if key not in shared:
                    with maker.calling("scalars"):
                        found = optimizer.scalars(rate if scale == 1 else rate * scale, decay, number)
                    shared[key] = {word: hoist(scalar) for word, scalar in checked_scalars(maker, found).items()}
                before, state = parameter.astype(mx.float32), states[name]
                with maker.calling("update"):
                    given = optimizer.update(before, gradient.astype(mx.float32), dict(state), shared[key])
                new, states[name] = checked_update(maker, name, before, state, given)
                return new.astype(parameter.dtype)

        return tree_map_with_path(updated, gradients)

    def state_dict(self) -> dict[str, float]:
        """Return what is no array: the base learning rate."""
        return {"learning_rate": self._learning_rate}

    def load_state_dict(self, saved: Mapping[str, float]) -> None:
        """Take over what `state_dict` returned."""
        self.learning_rate = saved["learning_rate"]

    def arrays(self) -> dict[str, mx.array]:
        """Return all arrays of the state by flat name: `step`, `learning_rate`, `parameters.<name>.<key>`."""
        flat = {name: self.state[name] for name in ("step", "learning_rate")}
        for name, state in self.state["parameters"].items():
            flat |= {f"parameters.{name}.{key}": array for key, array in state.items()}
        return flat

    def load_arrays(self, arrays: Mapping[str, mx.array]) -> None:
        """Take over what `arrays` returned, in place; after `init` and before the step is compiled.

        Raises:
            CheckpointError: An array is missing, of another shape or type, or belongs to no parameter.
        """
        here = self.arrays()
        wrong = [_mismatch(name, own, arrays.get(name)) for name, own in here.items()]
        wrong += [f"{name}: unexpected" for name in arrays if name not in here]
        wrong = [text for text in wrong if text]
        if wrong:
            more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
            raise CheckpointError(
                f"the optimizer's state fits neither this optimizer nor this model: {'; '.join(wrong[:5])}{more}"
            )
        for name in ("step", "learning_rate"):
            self.state[name] = arrays[name]
        for name, state in self.state["parameters"].items():
            for key in state:
                state[key] = arrays[f"parameters.{name}.{key}"]
        mx.eval(self.state)


def _flat(tree: Any) -> dict[str, mx.array]:
    named: Any = tree_flatten(tree)
    return dict(named)


def _mismatch(name: str, own: mx.array, given: mx.array | None) -> str:
    if given is None:
        return f"{name}: missing"
    if given.shape != own.shape or given.dtype != own.dtype:
        return f"{name}: expected {own.dtype} {list(own.shape)}, got {given.dtype} {list(given.shape)}"
    return ""


def _shared_out(flat: Mapping[str, mx.array]) -> dict[str, mx.Stream]:
    """Return a stream for each parameter where that is faster: on CPU, whose streams compute on one thread each.

    Two streams take a fifth off an update of 22.6 M parameters on two cores; more were not measured.
    """
    streams = backend.cpu_streams()
    if not streams:
        return {}
    load, shared = [0] * len(streams), {}
    for name, array in sorted(flat.items(), key=lambda item: -item[1].size):
        lighter = load.index(min(load))
        load[lighter] += array.size
        shared[name] = streams[lighter]
    return shared
