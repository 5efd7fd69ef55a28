"""Putting a fit together: data first, then the plan, and only then weights, optimizer, bus and compiled steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepbus import device, row_ids
from stepbus.batches import plan_shapes
from stepbus.bus import Bus
from stepbus.components import Selected
from stepbus.create import build_model
from stepbus.dataset import RowEncoder
from stepbus.effects import unevaluated
from stepbus.errors import ConfigError, DataError, ModelError, Problem
from stepbus.fits import Fit, Plan
from stepbus.folders import find_folder, read_config
from stepbus.head_labels import adopt_head
from stepbus.labels import LabelCodec
from stepbus.limits import Limits
from stepbus.members import for_fit
from stepbus.model import initialise
from stepbus.model_keys import check_keys
from stepbus.optimizer import ParameterUpdater
from stepbus.settings import show
from stepbus.steps import CompiledSteps, mix
from stepbus.wording import listed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stepbus.batches import ShapePlan
    from stepbus.bus import Member
    from stepbus.config import Config
    from stepbus.run import Run
    from stepbus.scheduler import Scheduler
    from stepbus.tokens import IntArray
    from stepbus.trainer import Trainer


def new_encoder(config: Config, model_config: Mapping[str, Any] | None = None) -> RowEncoder:
    """Return an encoder of rows that has learnt nothing yet.

    Args:
        config: The configuration.
        model_config: The config.json of a model that is there already; none reads what the configuration names.
    """
    model = config.model.settings
    source = model.tokenizer or model.pretrained
    if source is None:
        raise ModelError("model.tokenizer: a model from scratch needs a folder with a tokenizer.json; name one")
    try:
        folder = find_folder(source, weights=False)
    except ModelError as error:
        raise ModelError(f"model.{'tokenizer' if model.tokenizer else 'pretrained'}: {error}") from error
    known = known_config(config.model) if model_config is None else model_config
    limits = Limits.of(known or {}, model.pretrained)
    return RowEncoder(config.data.build(), folder, LabelCodec.of(config), config.data.settings, limits)


def prepare_data(trainer: Trainer, run: Run, fit: Fit) -> None:
    """Encode the rows of a fit and plan its batches; no weights are touched.

    Args:
        trainer: The trainer that will do the fit.
        run: Its run.
        fit: What to do.
    """
    trainer.run, trainer.fit = run, fit
    trainer.directory = run.directory_of(fit)
    config = trainer.config
    for rows in fit.sets.values():
        row_ids.check(rows, config.data.settings.id)
    given = trainer.given_model
    trainer.encoder = new_encoder(config, None if given is None else given.config)
    trainer.encoder.fit(fit.sets["train"])
    trainer.tokens = {name: trainer.encoder.encode(rows, labelled=True) for name, rows in fit.sets.items()}
    trainer.targets = {name: trainer.encoder.codec.targets_in_units(rows) for name, rows in fit.sets.items()}
    plan_batches(trainer)
    trainer.metrics, trainer.directions = chosen_metrics(config, task_of(trainer.encoder.codec))


def plan_batches(trainer: Trainer) -> None:
    """Plan the batches of a fit whose rows are encoded, and count its updates."""
    trainer.shapes = epoch_shapes(trainer.config, trainer.tokens["train"].lengths, trainer.encoder.limits)
    trainer.state.steps_per_epoch, trainer.state.total_steps = count_steps(trainer.config, trainer.shapes)


def epoch_shapes(config: Config, lengths: IntArray, limits: Limits) -> ShapePlan:
    """Return the batches of an epoch.

    Args:
        config: The configuration.
        lengths: Tokens of each training row, int [N].
        limits: What the model's tables hold.
    """
    settings = config.data.settings
    return plan_shapes(
        lengths,
        batch_size=settings.batch_size,
        tokens_per_batch=settings.tokens_per_batch,
        bucket_multiple=128 if device.kind() == "cuda" else 8,
        longest=limits.positions,
    )


def count_steps(config: Config, shapes: ShapePlan) -> tuple[int, int]:
    """Return the updates of an epoch and those of the whole fit."""
    training = config.training
    batches = shapes.epoch_batches(drop_last=config.data.settings.drop_last)
    per_epoch = -(-batches // training.gradient_accumulation_steps)
    total = training.num_epochs * per_epoch
    return per_epoch, total if training.max_steps is None else min(total, training.max_steps)


def task_of(codec: LabelCodec) -> str:
    """Return what the labels are; the codec has seen the training rows."""
    assert codec.task is not None
    return codec.task


def chosen_metrics(config: Config, task: str) -> tuple[list[tuple[str, Any]], dict[str, bool | None]]:
    """Return the metrics of a task, built, and the direction of everything that will be computed.

    Args:
        config: The configuration; `training.metrics` names them, or the task's own are taken.
        task: binary, multiclass, multilabel or regression.
    """
    offered = [part for part, _ in config.components if part.kind == "metric"]
    usual = [Selected(part, part.config()) for part in offered if task in part.metadata.get("default", ())]
    chosen = usual if config.training.metrics is None else config.training.metrics
    directions: dict[str, bool | None] = {"eval_loss": False}
    built: list[tuple[str, Any]] = []
    for place, selected in enumerate(chosen):
        if task not in selected.component.metadata["tasks"]:
            tasks = ", ".join(selected.component.metadata["tasks"])
            words = f"{selected.name} is for {tasks}, and this data is {task}; leave it out"
            raise ConfigError([config.locate(Problem("training.metrics", words))])
        if any(name == selected.name for name, _ in built):
            others = [part.name for part in offered if part.name.startswith(f"{selected.name}_")]
            instead = f", or take {listed(others, 'or')}" if others else ""
            words = f"expected each metric once, for its name is that of its score, got {selected.name} again"
            raise ConfigError(
                [config.locate(Problem(f"training.metrics[{place}]", f"{words}; leave one out{instead}"))]
            )
        built.append((selected.name, selected.build()))
        directions[f"eval_{selected.name}"] = selected.component.metadata["greater_is_better"]
    monitor, wished = config.training.monitor, config.training.greater_is_better
    if wished is not None:
        known = directions.get(monitor)
        if known is not None and known != wished:
            better = "more" if known else "less"
            words = f"expected {show(known)}, because {better} {monitor} is better, got {show(wished)}; leave it out"
            raise ConfigError([config.locate(Problem("training.greater_is_better", words))])
        directions[monitor] = wished
    return built, directions


def make_plan(trainer: Trainer, fits: list[Fit]) -> Plan:
    """Return what is going to happen, for `validate_plan`."""
    state, monitored = trainer.state, trainer.fit.monitored is not None
    why = unevaluated(trainer.config.training, monitored, state.steps_per_epoch, state.total_steps)
    return Plan(
        config=trainer.config,
        fits=fits,
        task=task_of(trainer.encoder.codec),
        metrics=trainer.directions,
        monitor=trainer.config.training.monitor,
        total_steps=trainer.state.total_steps,
        rows={name: len(tokens) for name, tokens in trainer.tokens.items()},
        has_validation=not why,
        unevaluated=why,
    )


def assemble(trainer: Trainer, members: Sequence[Member], *, alone: bool) -> None:
    """Load the model, make the optimizer, fill the bus, and compile; the data is prepared.

    Args:
        trainer: The trainer.
        members: The prototypes of all plugins.
        alone: Whether its run has one fit only.
    """
    config = trainer.config
    scheduler = config.scheduler.build()
    serving = serving_members(trainer, members, scheduler, alone=alone)
    trainer.bus = Bus(serving, trainer.control, trainer.run.meter)
    trainer.bus.on_disabled = lambda text: trainer.message(text, "warning")
    trainer.model = fit_model(trainer)
    check_tables(trainer, trainer.model)
    groups: dict[str, dict[str, float]] = {}
    for given in trainer.bus.in_order("parameter_groups", trainer=trainer, model=trainer.model):
        for name, group in given.items():
            own = groups.setdefault(name, {})
            scale = own.get("learning_rate_scale", 1.0) * group.get("learning_rate_scale", 1.0)
            own.update(group, learning_rate_scale=scale)
    settings = config.optimizer.settings
    if trainer.fit is trainer.run.fits[0]:  # the same for every fit
        for line in [*trainer.encoder.notes, *trainer.model.loaded.lines()]:
            trainer.message(line)
    trainer.optimizer = ParameterUpdater(
        config.optimizer.build(), settings.learning_rate, settings.weight_decay, groups
    )
    trainer.optimizer.init(trainer.model.trainable_parameters())
    trainer.scheduler = scheduler


def serving_members(trainer: Trainer, members: Sequence[Member], scheduler: Scheduler, *, alone: bool) -> list[Member]:
    """Return the members of a fit's bus: the plugins, and the scheduler where it listens.

    Args:
        trainer: The trainer.
        members: The prototypes of all plugins.
        scheduler: The fit's own.
        alone: Whether its run has one fit only.
    """
    named = f"scheduler.{trainer.config.scheduler.name}"
    return for_fit(members, [(named, scheduler)], alone=alone, extras=trainer.plugins)


def known_config(section: Selected) -> dict[str, Any] | None:
    """Return the model's config.json, its weights unread; or None where only building the model would tell.

    Args:
        section: The section `model`.

    Raises:
        ModelError: The settings or the folder cannot be used.
    """
    say = section.component.metadata.get("config")
    if say is not None:
        found: dict[str, Any] = say(section.settings)
        return found
    if section.settings.pretrained is None:
        return None
    folder = find_folder(section.settings.pretrained)
    found = read_config(folder)
    check_keys(found, str(folder / "config.json"))
    return found


def check_tables(trainer: Trainer, model: Any) -> None:
    """Refuse rows that the tables of the model have no place for, now that it is there.

    Args:
        trainer: A fit whose data is prepared.
        model: The model.

    Raises:
        ModelError: There is such a row.
    """
    limits = Limits.of(model.config)
    if limits != trainer.encoder.limits:  # nothing was known of it before
        trainer.encoder.limits = limits
        for name, tokens in trainer.tokens.items():
            limits.check(tokens, trainer.fit.sets[name].where, trainer.encoder.tokenizer)
        plan_batches(trainer)


def compile_steps(trainer: Trainer) -> None:
    """Compile the steps; weights, optimizer state and restored values are in place."""
    state, optimizer = trainer.state, trainer.optimizer
    transforms = list(trainer.bus.in_order("transform_gradients", trainer=trainer))
    trainer.model.train()
    trainer.steps = CompiledSteps(
        trainer.model,
        optimizer,
        transforms,
        rate=lambda step: trainer.scheduler.rate(step, state.total_steps, optimizer.learning_rate),
        seed=trainer.fit.seed,
        precision=trainer.config.training.precision,
    )


def compile_evaluation(trainer: Trainer) -> None:
    """Compile the evaluation alone, for a trained model that was opened."""
    unused = ParameterUpdater(trainer.config.optimizer.build(), 0.0)
    trainer.steps = CompiledSteps(trainer.model, unused, [], rate=lambda step: 0.0, seed=0)


def fit_model(trainer: Trainer) -> Any:
    """Return the fit's model: the caller's own, or a new one from the configuration and the seed."""
    codec, given = trainer.encoder.codec, trainer.given_model
    if given is not None:
        task = codec.task
        if given.task != task or given.outputs != codec.outputs:
            raise DataError(
                f"the model has {given.outputs} {given.task} outputs, and the labels are {task} with {codec.outputs}; "
                f'use create_model(head_type="{task}", num_labels={codec.outputs})'
            )
    seed = mix(trainer.fit.seed, 0) % 2**32
    alone = given is not None and trainer.run.alone
    model = given if alone else config_model(trainer.config, codec, seed, given)

    def renew() -> None:
        spread = float(model.config.get("initializer_range", 0.02))
        initialise(model, seed, spread, model.head_names)

    adopt_head(model, codec, renew)
    return model


def config_model(config: Config, codec: LabelCodec, seed: int, like: Any = None) -> Any:
    """Build the model that a configuration and labels describe.

    Args:
        config: The configuration.
        codec: The labels.
        seed: Where new weights start.
        like: A model whose weights to start from.
    """
    model = build_model(config.components, config.model, outputs=codec.outputs, task=task_of(codec), seed=seed)
    if like is not None:
        model.load_tensors(like.tensors(), source="the model")
        model.meaning = like.meaning
    return model
