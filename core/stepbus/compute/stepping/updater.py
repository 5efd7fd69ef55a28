"""From gradients to new parameters inside the compiled step: what owns the state of every parameter."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx
from mlx.utils import tree_flatten, tree_map_with_path

from stepbus.base.guards import Closed, Maker
from stepbus.compute import LossScale, Optimizer, Scalars, hoist, shared_out
from stepbus.compute.checks import (
    check_groups,
    check_kept,
    checked_scalars,
    checked_state,
    checked_update,
    handed_out,
    still_numbers,
)
from stepbus.compute.stepping.averages import Averages
from stepbus.compute.stepping.following import Follower, Followers
from stepbus.compute.watching import saw_new


class ParameterUpdater(Closed, settable="learning_rate on_change followers"):
    """The optimizer of a fit: base learning rate, parameter groups and state; plugins know it as `trainer.optimizer`.

    Args:
        optimizer: How one parameter is updated.
        learning_rate: The base learning rate.
        weight_decay: Weight decay of the parameters that no group names.
        groups: Parameter name -> settings of its own, of GROUP_SETTINGS.
        maker: How messages name the optimizer.
        scaled: Whether the loss is scaled, as float16 needs it.

    Example:
        >>> ParameterUpdater(load_config().optimizer.build(), 1e-3).learning_rate  # `trainer.optimizer.learning_rate`
        0.001
    """

    def __init__(
        self,
        optimizer: Optimizer,
        learning_rate: float,
        weight_decay: float = 0.0,
        groups: Mapping[str, Mapping[str, float]] | None = None,
        maker: Maker | None = None,
        *,
        scaled: bool = False,
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
            "counts": {},
        }
        self.scale = LossScale(self.state) if scaled else None
        self.followers = Followers([], self.state)
        self._counted: dict[str, str] = {}  # parameter -> the phases that train it, where these are not all
        self._closed = True

    @property
    def learning_rate(self) -> float:
        """The base learning rate; the rate in use is the schedule's function of it. Plugins may set it."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"expected a finite base learning rate of at least 0, got {value!r}")
        before, self._learning_rate = self._learning_rate, float(value)
        if self._learning_rate != before:
            self.on_change()

    def set_learning_rate(self, rate: float) -> None:
        """Put the rate in use for the next update where the compiled step reads it."""
        self.state["learning_rate"] = mx.array(rate, dtype=mx.float32)

    def init(self, parameters: Any, *, frozen: Iterable[str] = (), late: Mapping[str, str] | None = None) -> None:
        """Make the state of all parameters that are trained.

        Args:
            parameters: A tree of arrays.
            frozen: Names of other parameters, which groups may name as well.
            late: Parameter -> which phases train it, in a word, where not all do: these count their updates together.

        Raises:
            PluginError: A group names no parameter, or a setting that groups do not have.
        """
        flat = _flat(parameters)
        check_groups(self._groups, {*flat, *frozen})
        self._streams = shared_out(flat)
        for name, array in flat.items():
            with self._maker.calling("for_parameter"):
                self._optimizers[name] = picked = self._optimizer.for_parameter(name, array)
            if not isinstance(picked, Optimizer):
                got = "None" if picked is None else f"a {type(picked).__name__}"
                raise self._maker.fault(f"for_parameter: {name}: expected a stepbus.Optimizer, got {got}")
            with self._maker.calling("init"):
                state = picked.init(array.astype(mx.float32))
            self.state["parameters"][name] = checked_state(self._maker, name, state)
        self._counted = dict(late or {})
        self.state["counts"] = {word: mx.array(0, dtype=mx.int32) for word in sorted(set(self._counted.values()))}
        with self._maker.calling("init"):
            mx.eval(self.state)

    def follow_with(self, followers: list[Follower]) -> None:
        """Let arrays of plugins follow the weights, from where these stand.

        Args:
            followers: What the hook `after_update` gave, in call order.
        """
        self.followers = Followers(followers, self.state)

    def trained(self, model: Any) -> dict[str, mx.array]:
        """Return what of a model is trained in any phase, by name, as the functions of `after_update` are given it."""
        flat = _flat(model.parameters())
        return {name: flat[name] for name in self.state["parameters"]}

    @property
    def averages(self) -> Averages:
        """Who averages the weights, and what comes of it."""
        return Averages(self._maker, self._optimizers, self.followers, self.state["parameters"])

    def traced_settings(self) -> Any:
        """Return all that a compiled step takes as fixed: how each parameter is updated, and what its state is."""
        state = {name: (array.shape, str(array.dtype)) for name, array in self.arrays().items()}
        streams = {name: str(stream) for name, stream in self._streams.items()}
        groups = {name: dict(sorted(group.items())) for name, group in sorted(self._groups.items())}
        counted = dict(sorted(self._counted.items()))
        return [self._optimizer, self._weight_decay, groups, self._optimizers, streams, counted, state]

    def begin_as(self, other: ParameterUpdater) -> None:
        """Take over the state of an optimizer with equal settings, in place, as the beginning of another fit.

        Args:
            other: That optimizer, which nobody uses any more.
        """
        self._learning_rate, self.on_change = other.learning_rate, lambda: None
        self.followers.given = other.followers.given  # whose functions may be others in another fit
        given = {name: holder[key] for name, holder, key in other.places()}
        for name, holder, key in self.places():
            holder[key] = given[name]

    def on_stream(self, name: str) -> AbstractContextManager[Any]:
        """Return a context in which operations run where the parameter of that name is updated."""
        stream = self._streams.get(name)
        return nullcontext() if stream is None else mx.stream(stream)

    def map(self, function: Callable[[mx.array], mx.array], gradients: Any) -> Any:
        """Return a tree with a function of each array, computed where its update is, with which mx.compile fuses it."""

        def placed(name: str, array: mx.array) -> mx.array:
            with self.on_stream(name):
                return function(array)

        return tree_map_with_path(placed, gradients)

    def apply(self, gradients: Any, parameters: Any, finite: mx.array | None = None) -> Any:
        """Return the parameters after one update; see `applied`."""
        return self.applied(gradients, parameters, finite)[0]

    def applied(self, gradients: Any, parameters: Any, finite: mx.array | None = None) -> tuple[Any, mx.array]:
        """Do one update; called inside the compiled step, which captures `state`.

        What an optimizer gives that does not keep values itself is looked at before any of it is taken over.

        Args:
            gradients: A tree of arrays.
            parameters: A tree that has at least the same arrays.
            finite: Whether the gradients are, 0-d; else parameters and state keep their values. None: they are.

        Returns:
            The parameters after it, and whether it was done, 0-d.
        """
        finite = mx.array(True) if finite is None else hoist(finite)
        rate = self.state["learning_rate"]
        numbers = {"": self.state["step"] + 1}
        numbers |= {
            self._counted[name]: self.state["counts"][self._counted[name]] + 1 for name in self._late(gradients)
        }
        flat, states, maker = _flat(parameters), self.state["parameters"], self._maker
        shared: dict[tuple[int, str, float, float, str], Scalars] = {}

        def given(name: str, gradient: mx.array, done: mx.array) -> tuple[mx.array, mx.array, dict[str, mx.array]]:
            group, optimizer = self._groups.get(name, {}), self._optimizers[name]
            scale = float(group.get("learning_rate_scale", 1.0))
            decay = float(group.get("weight_decay", self._weight_decay))
            counted = self._counted.get(name, "")
            key = (id(optimizer), str(self._streams.get(name)), scale, decay, counted)
            if key not in shared:
                with maker.calling("scalars"):
                    number = numbers[counted].astype(mx.float32)
                    found = optimizer.scalars(rate[...] if scale == 1 else rate * scale, decay, number)
                shared[key] = {word: hoist(scalar) for word, scalar in checked_scalars(maker, found).items()}
                if optimizer.keeps_itself():
                    shared[key]["finite"] = done
            before, state = flat[name].astype(mx.float32), states[name]
            with maker.calling("update"):
                own = handed_out(state), handed_out(shared[key])
                answer = optimizer.update(before[...], gradient.astype(mx.float32), *own)
            return before, *checked_update(maker, name, before, state, answer)

        looked_at: dict[str, Any] = {}
        for name, gradient in _flat(gradients).items():
            if not self._optimizers[name].keeps_itself():
                with self.on_stream(name):
                    before, new, after = looked_at[name] = given(name, gradient, finite)
                    saw_new(name, before, new, states[name], after, finite)
        done = hoist(finite & still_numbers(looked_at, states, self.on_stream)) if looked_at else finite

        def updated(name: str, gradient: mx.array) -> mx.array:
            with self.on_stream(name):
                before, new, after = looked_at.get(name) or given(name, gradient, done)
                if name in looked_at:
                    after = {word: mx.where(done, array, states[name][word]) for word, array in after.items()}
                    new = mx.where(done, new, before)
                states[name] = after
                return new.astype(flat[name].dtype)

        new = tree_map_with_path(updated, gradients)
        self.state["step"] = mx.where(done, numbers.pop(""), self.state["step"])
        for word, number in numbers.items():
            self.state["counts"][word] = mx.where(done, number, self.state["counts"][word])
        return new, done

    def _late(self, gradients: Any) -> list[str]:
        """Return the parameters among those that are trained now which are not trained in all phases."""
        return [name for name in _flat(gradients) if name in self._counted] if self._counted else []

    def follow(self, parameters: Any, finite: mx.array, overflowed: mx.array) -> None:
        """Let loss scale and arrays of plugins follow an update.

        Args:
            parameters: The tree of all parameters after it.
            finite: Whether it was done, 0-d.
            overflowed: Whether it was not because a scaled gradient was not finite, 0-d.
        """
        if self.scale is not None:
            self.scale.follow(finite, overflowed)
        if self.followers.given:
            flat = _flat(parameters)
            self.followers.follow({name: flat[name] for name in self.state["parameters"]}, hoist(finite))

    def state_dict(self) -> dict[str, float]:
        """Return what is no array: the base learning rate."""
        return {"learning_rate": self._learning_rate}

    def load_state_dict(self, saved: Mapping[str, float]) -> None:
        """Take over what `state_dict` returned."""
        self.learning_rate = saved["learning_rate"]

    def arrays(self) -> dict[str, mx.array]:
        """Return all arrays of the state by flat name: `step`, `parameters.<name>.<key>`, `plugins.<name>.<key>`, …"""
        return {name: holder[key] for name, holder, key in self.places()}

    def places(self) -> Iterator[tuple[str, dict[str, Any], str]]:
        """Yield the flat name of each array of the state with the dictionary that holds it and its key."""
        for name, value in self.state.items():
            if isinstance(value, mx.array):
                yield name, self.state, name
        for name in self.state["counts"]:
            yield f"counts.{name}", self.state["counts"], name
        for name, state in self.state["parameters"].items():
            for key in state:
                yield f"parameters.{name}.{key}", state, key
        yield from self.followers.arrays()

    def load_arrays(self, arrays: Mapping[str, mx.array]) -> None:
        """Take over what `arrays` returned, in place; after `init` and before the step is compiled.

        Raises:
            CheckpointError: An array is missing, of another shape or type, or belongs to no parameter.
        """
        check_kept(self.arrays(), arrays)
        for name, holder, key in self.places():
            holder[key] = arrays[name]
        mx.eval(self.state)


def _flat(tree: Any) -> dict[str, mx.array]:
    named: Any = tree_flatten(tree)
    return dict(named)
