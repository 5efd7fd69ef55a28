"""Playing a run: the real loop, bus, control and training state over a script, in milliseconds and without MLX."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from stepbus.base import ConfigError, Interrupted
from stepbus.config import Config
from stepbus.fit import FitSession, Prototype, for_fit, prototypes
from stepbus.fit.plugins import state_of
from stepbus.kernel import Bus, Control, Fit, FitResult, TrainingState
from stepbus.run import Run
from stepbus.run.plans import plan_run
from stepbus.testing.recorder import Recorder, Told
from stepbus.testing.script import Heard, Script, Snapshot
from stepbus.testing.scripted import MemoryStore, scripted_config
from stepbus.testing.scripted_checkpoints import frozen_states
from stepbus.testing.scripted_fits import ScriptedFits

# How the recorder of a scripted run is called on the bus; no plugin can have such a name.
RECORDER = "(recorder)"


def play(
    *plugins: Any,
    epochs: int = 2,
    steps_per_epoch: int = 5,
    losses: Sequence[float] = (),
    metrics: Sequence[Mapping[str, float]] = (),
    scalars: Sequence[Mapping[str, float]] = (),
    seconds: float = 0.01,
    interrupt_at: int | tuple[str, int] | None = None,
    resume_from: Snapshot | None = None,
    sets: Mapping[str, Any] | None = None,
    directions: Mapping[str, bool | None] | None = None,
    data: Mapping[str, Any] | None = None,
    parts: Mapping[str, Callable[[], Any]] | None = None,
    directory: Path | None = None,
    **training: Any,
) -> Played:
    """Play a run of plugins: `stepbus.kernel.engine.run_fit` with a script in place of the compiled step.

    Every hook fires as in a real run; a checkpoint is durable at the boundary after its own. The model has NumPy arrays
    as parameters, which nothing updates, and what `transform_gradients` returns is not called: `tiny_fit` does that.

    Args:
        *plugins: Classes, instances, modules, or (class, settings by name or as its Config), in call order; classes
            come first, as what a configuration names does.
        epochs: Times that the training rows are seen.
        steps_per_epoch: Updates of one epoch.
        losses: The loss of each update; the last is said again. Without it, 1 / number.
        metrics: The metrics of each evaluation cycle, named `eval_…`; the last are said again. Without them, there
            are no validation rows and nothing is evaluated.
        scalars: The named numbers of each update (`gradient_norm`); the last are said again.
        seconds: Wall time of one update.
        interrupt_at: The update during which a signal arrives; ("round-2", 3) also says of which fit.
        resume_from: A checkpoint of an earlier run: `earlier.checkpoints[-1]`.
        sets: Row sets by name, for plugins that read rows; without them there are rows that only have ids.
        directions: Metric -> whether greater is better; without it, only names that end in loss are better when less.
        data: Settings of section `data`.
        parts: Name -> what builds a component with hooks for each fit, such as "scheduler.mine".
        directory: The folder of the run; a temporary one without it.
        **training: Settings of section `training` (`log_steps=2`, `eval_strategy="steps"`, `eval_steps=3`).

    Returns:
        What happened.

    Raises:
        ConfigError: A setting cannot be used, or a plugin found a problem of the plan.
        PluginError: A plugin cannot be used.
        PluginFailure: A plugin raised.

    Example:
        >>> class Stops(Callback):
        ...     asks = ("stop",)
        ...     def on_step_end(self, trainer, step):
        ...         if step.loss < 0.3:
        ...             trainer.control.request_stop("low enough")
        >>> play(Stops(), losses=[0.5, 0.4, 0.2]).stopped_by
        'stops at step 3: low enough'
    """
    script = Script(losses, scalars, metrics, seconds, interrupt_at)
    if problems := script.problems(steps_per_epoch, training.get("num_epochs", epochs), resume_from):
        raise ConfigError(problems)
    with ExitStack() as stack:
        folder = directory or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stepbus-")))
        settings = {"num_epochs": epochs, "pipeline_depth": 0, **training}
        config, extras = scripted_config(plugins, settings, {"batch_size": 4, "label": "label", **(data or {})}, folder)
        played = begun(
            config,
            extras,
            script,
            steps_per_epoch,
            resume_from,
            sets=sets,
            directions=directions,
            parts=parts,
        )
        played.execute()
        return played


def planned(
    *plugins: Any,
    sets: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    metrics: Sequence[Mapping[str, float]] = (),
    **training: Any,
) -> list[Fit]:
    """Return the fits that plugins make of a run, in the order in which they would be done; nothing is played.

    Args:
        *plugins: What `play` takes.
        sets: Row sets by name; without them there are rows that only have ids.
        data: Settings of section `data`.
        metrics: What `play` takes: with it there are validation rows.
        **training: Settings of section `training`.

    Raises:
        ConfigError: Every problem of the plan.

    Example:
        >>> [fit.name for fit in planned()]
        ['fit']
    """
    settings = {"batch_size": 4, "label": "label", **(data or {})}
    config, extras = scripted_config(
        plugins, {"num_epochs": 2, "pipeline_depth": 0, **training}, settings, Path("runs")
    )
    run = begun(config, extras, Script(metrics=metrics), 5, sets=sets).run
    run.store.open(run)
    plan_run(run)
    return run.fits


def begun(
    config: Config,
    extras: Sequence[Any],
    script: Script,
    steps_per_epoch: int,
    resume_from: Snapshot | None = None,
    *,
    sets: Mapping[str, Any] | None = None,
    directions: Mapping[str, bool | None] | None = None,
    parts: Mapping[str, Callable[[], Any]] | None = None,
) -> Played:
    """Return a scripted run of a configuration that has not begun; see `play`.

    Args:
        config: The configuration, as `scripted_config` returns it.
        extras: Plugins passed in Python.
        script: What the steps of each fit say.
        steps_per_epoch: Updates of one epoch.
        resume_from: A checkpoint of an earlier run.
        sets: Row sets by name.
        directions: Metric -> whether greater is better.
        parts: Name -> what builds a component with hooks for each fit.
    """
    heard, recorder = Heard(resume_from), Recorder()
    builder = ScriptedFits(config, script, heard, steps_per_epoch, sets, directions, parts)
    watcher = Prototype(RECORDER, RECORDER, recorder)
    run = heard.run = Run(config, builder, MemoryStore(resume_from), plugins=extras, watchers=[watcher])
    return Played(run, heard, recorder)


class Played(Told):
    """What happened in a scripted run.

    Args:
        run: The run.
        heard: What was written down of it.
        recorder: What wrote down its events.

    Attributes:
        events: Every hook call, in order.
        asked: Every request to the engine, in order, of all fits.
        checkpoints: A snapshot for each checkpoint.
        moves: What was launched and read: "launch 1", "read 1".
        result: The result, combined; None for an interrupted run.
        late: What plugins raised when the run was over already, which changed nothing.

    Example:
        >>> played = play(metrics=[{"eval_loss": 0.7}, {"eval_loss": 0.6}], epochs=2)  # a Played
        >>> played.status, played.names.count("on_step_end"), played.state.best.value
        ('ok', 10, 0.6)
    """

    def __init__(self, run: Run, heard: Heard, recorder: Recorder) -> None:
        super().__init__(recorder.events)
        self.run, self.recorder = run, recorder
        self.asked, self.moves = heard.asked, heard.moves
        self.checkpoints = heard.checkpoints
        self.result: FitResult | None = None
        self.late: list[str] = []

    def execute(self) -> None:
        """Play it to its end, whatever that is."""
        try:
            self.result = self.run.execute()
        except Interrupted as error:  # by the script, which is no fault
            self.late += getattr(error, "__notes__", ())
        self.late += [
            each["text"] for each in self.of("on_message") if each["level"] == "warning" and " raised " in each["text"]
        ]

    @property
    def trainer(self) -> FitSession:
        """The last fit that was begun."""
        return list(self.run.sessions.values())[-1]

    @property
    def state(self) -> TrainingState:
        """Where the last fit stands."""
        return self.trainer.state

    @property
    def control(self) -> Control:
        """The requests that the last fit holds."""
        return self.trainer.control

    @property
    def plugins(self) -> dict[str, Any]:
        """The last fit's instances by name."""
        return {member.name: member.plugin for member in self.trainer.bus.members}

    @property
    def plugin_states(self) -> dict[str, Any]:
        """The state of each plugin that has one, by name, as a checkpoint would give it back."""
        return frozen_states(state_of(self.trainer.bus))

    @property
    def disabled(self) -> dict[str, str]:
        """The plugins of the last fit that an error switched off, with the error."""
        return {member.name: member.disabled for member in self.trainer.bus.members if member.disabled}

    @property
    def status(self) -> str:
        """How it ended: ok, stopped or interrupted."""
        return str(self.recorder.of("on_close")[-1]["status"])

    @property
    def stopped_by(self) -> str:
        """Who stopped the last fit and why: "early_stopping at step 6: …", or nothing."""
        return self.control.why("stop")


def bus_of(*plugins: Any, control: Control | None = None) -> Bus:
    """Return a bus with plugins on it, and nothing else.

    Args:
        *plugins: What `play` takes.
        control: Where requests go.

    Example:
        >>> class Says(Callback):
        ...     def on_epoch_end(self, state):
        ...         print("epoch", state.epoch)
        >>> _ = bus_of(Says()).hook.on_epoch_end(trainer=None, state=TrainingState(epoch=3))
        epoch 3
    """
    config, extras = scripted_config(plugins, {}, {}, Path("runs"))
    return Bus(for_fit(prototypes(config, extras), [], alone=True, extras=extras), control)
