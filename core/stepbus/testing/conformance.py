"""What every plugin keeps, as one function over a class."""

from __future__ import annotations

import contextlib
import inspect
import io
from collections.abc import Mapping, Sequence
from typing import Any

from stepbus.base import show_python
from stepbus.kernel import hooks_of
from stepbus.testing import rules
from stepbus.testing.script import ScriptedRows
from stepbus.testing.scripted import loaded_class, sets_to_predict
from stepbus.testing.subject import Subject, listening_schedules

# A metric that improves, stalls, improves and worsens again, evaluated within and at the end of epochs.
SCRIPT: dict[str, Any] = {
    "epochs": 3,
    "steps_per_epoch": 4,
    "losses": [1.0, 0.9, 0.95, 0.7, 0.6, 0.65, 0.5, 0.45, 0.4, 0.42, 0.3, 0.35],
    "scalars": [{"gradient_norm": 1.5}, {"gradient_norm": 0.5}],
    "metrics": [
        {"eval_loss": loss, "eval_accuracy": accuracy}
        for loss, accuracy in ((0.9, 0.5), (0.7, 0.6), (0.8, 0.6), (0.75, 0.7), (0.72, 0.65), (0.71, 0.7))
    ],
    "log_steps": 2,
    "eval_strategy": "steps",
    "eval_steps": 2,
}

# Hooks that change what is computed, of which a scripted run can only ask.
COMPUTING = frozenset(
    {
        "transform_model", "phases", "trained_parameters", "parameter_groups", "wrap_loss", "wrap_gradient",
        "transform_gradients", "after_update", "training_step", "transform_export", "export_files",
    }
)  # fmt: skip


def assert_conforms(
    plugin: type,
    settings: Any = None,
    *,
    beside: Sequence[Any] = (),
    varying: Sequence[str] = (),
    tiny: Mapping[str, Any] | None = None,
    **script: Any,
) -> None:
    """Hold a plugin class against what every plugin keeps; scripted runs show it, in some tenths of a second.

    The rules:

    - is well made: known hooks and arguments, a frozen attrs Config, sound defaults, scope; each component is built
      from its default settings and tried out on arrays of a few rows, as `stepbus plugins doctor` does it;
    - settings round-trip: as JSON values and back, each setting is the same;
    - building touches nothing: no file, no array;
    - plays a run: none of its hooks raises; who combines predictions has rows to predict, a set `test`;
    - grows what it declares: the plan has fits along each axis of its `grows`;
    - asks for what it declares: its `asks` names each request that it makes of `trainer.control`;
    - needs no pickle: its state is what checkpoints keep (see
      `stepbus.storage.plugin_state`: JSON values, tuples, arrays), and it has both methods of a state, or neither;
    - state round-trips: a fresh instance that takes a state over gives the same back;
    - resume equals uninterrupted: cut after each update and resumed into a fresh instance, a run makes the same
      records, events, requests, metrics and states;
    - two fits share no state: a run leaves other instances, the class and the next run as they were;
    - order makes no difference: among plugins that only listen, before or after it, it does the same, changes nothing
      of what others are given, and without a request of its own leaves the events of the loop as they are;
    - trains a tiny model: where it changes the computation (the model, the loss, the gradient, the step, what follows
      an update, the export), a tiny real fit comes to its end with it, and one that was cut ends with the same bits;
      what it gives is looked at there, as in any fit. Scripted runs, which have no modules, leave those hooks out
      where they cannot do without;
    - no extra device synchronisation: no hook of a fit calls `mx.eval`, `mx.async_eval`, `mx.synchronize`, or turns
      an MLX array into a host number (`item`, `tolist`, `float`, `int`, `bool`).

    What is not caught: memory that no request, record, event or state shows; a synchronisation that needs a real model
    or optimizer at hand, that runs in compiled code, or through `numpy.array` of an MLX array; whether what is
    computed is right, components with other than default settings, models from scratch, and readers of files of no
    common format: `tiny_fit` shows these. Schedules that listen to hooks are played like the plugin itself.

    Args:
        plugin: The class.
        settings: Settings by name or an instance of its Config, where it needs some or others show more.
        beside: Further plugins that it cannot do without, as `play` takes them.
        tiny: What `tiny_fit` takes beside, for a plugin that changes the computation.
        varying: Keys of its states and records that depend on the wall clock.
        **script: What `play` takes, over the script of improving and stalling metrics that is played otherwise.

    Raises:
        AssertionError: A rule is broken; the message names plugin and rule and says what was seen.

    Example:
        >>> class Says:
        ...     'Say when an epoch ended.'
        ...     @hookimpl
        ...     def on_epoch_end(self, state):
        ...         print("epoch", state.epoch)
        >>> assert_conforms(Says)
    """
    if not inspect.isclass(plugin):
        raise TypeError(f"expected the class of a plugin, got {show_python(plugin)}")
    loaded, told = loaded_class(plugin), {**SCRIPT, **script}
    if hasattr(getattr(plugin, "combine_predictions", None), "stepbus_impl"):
        told["sets"] = sets_to_predict(told, ScriptedRows)
    subject = Subject(loaded, settings, tuple(beside), tuple(varying), told)
    # What a plugin prints is no concern of its author's test.
    with contextlib.redirect_stdout(io.StringIO()):
        rules.check_class(subject)
        rules.check_settings(subject)
        rules.check_building(subject)
        listens = hooks_of(subject.fresh(), subject.name, subject.loaded.scope)
        if COMPUTING & listens.keys():
            rules.check_computing(subject, tiny or {})
            subject = subject.playable(COMPUTING)
            listens = hooks_of(subject.fresh(), subject.name, subject.loaded.scope)
        for each in [*([subject] if listens else []), *listening_schedules(subject)]:
            rules.check_growth(each)
            rules.check_isolation(each)
            rules.check_state(each)
            rules.check_resume(each)
            rules.check_order(each)
            rules.check_device(each)
