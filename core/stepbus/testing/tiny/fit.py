"""`tiny_fit`: the whole of a real run in a second or two, on this machine's device, with a plugin in it."""

from __future__ import annotations

import inspect
import shutil
import sys
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from stepbus.author.sample import tiny_rows, tiny_tree
from stepbus.base import PluginError, show_python
from stepbus.base.trees import plain
from stepbus.testing import Event, Recorder, Told
from stepbus.testing.scripted import own_names

if TYPE_CHECKING:
    from stepbus.api import Trainer
    from stepbus.kernel import FitResult

VALIDATION_ROWS = 12
TEST_ROWS = 6


class TinyFit(Told):
    """What a tiny fit came to.

    Args:
        trainer: The trained trainer: `predict`, `evaluate`, `model`, `fits`.
        result: What `train` returned: status, metrics, predictions, steps, model_path.
        events: Every hook call, in order.
        directory: The folder of the run; a temporary one lasts as long as this object.

    Example:
        >>> done = tiny_fit(num_epochs=1)  # a TinyFit
        >>> done.result.status, done.trainer.predict([{"text": "good"}]).shape
        ('ok', (1, 2))
    """

    def __init__(self, trainer: Trainer, result: FitResult, events: list[Event], directory: Path) -> None:
        super().__init__(events)
        self.trainer, self.result, self.directory = trainer, result, directory


def tiny_fit(
    plugin: Any = None,
    settings: Any = None,
    *,
    beside: Sequence[Any] = (),
    rows: int = 24,
    validation: bool = True,
    test: bool = False,
    directory: Path | None = None,
    resume: bool = False,
    **more: Any,
) -> TinyFit:
    """Train a tiny model for real with a plugin: everything that a scripted run cannot show.

    A model of one layer of width 16 starts from scratch and is trained on rows made in memory, in a second or two; the
    first fit ever on a machine compiles kernels before, for up to a minute. With an optimizer of your own:
    `tiny_fit(MyOptimizers, optimizer={"type": "mine", "learning_rate": 1e-2})`.

    Args:
        plugin: A class, as YAML would name it; an instance or a module; none trains without.
        settings: Settings of the class, by name or as its Config.
        beside: Further plugins; (class, settings) is one with settings. A class that is there twice is called `mine`
            and `mine_2`.
        rows: Training rows: columns id, text, label (0 or 1), kind (three classes), long (0 or 1), value (a number).
            The task in `data={"task": …}` picks the column that is the label.
        validation: Whether there are validation rows as well.
        test: Whether there are rows to predict as well, without labels: `result.predictions["test"]`.
        directory: The folder of everything; a temporary one without it.
        resume: Go on with the newest run of that folder.
        **more: Sections and settings, as `create_trainer` takes them, over those of the tiny fit: `num_epochs=1`,
            `model={"head": "mine"}`, `data={"train": "mine:rows"}` in place of the made rows,
            `plugins={"freeze": {"layers": 1}}` for those that are installed.

    Returns:
        The result, the trained trainer, and what was told on the way.

    Raises:
        StepbusError: What a run raises: a wrong setting, a plugin that cannot be used or raised.

    Example:
        >>> done = tiny_fit(optimizer={"type": "sgd", "learning_rate": 1e-2}, num_epochs=2)
        >>> done.result.status, done.names.count("on_epoch_end")
        ('ok', 2)
    """
    folder = Path(tempfile.mkdtemp(prefix="stepbus-")) if directory is None else Path(directory)
    try:
        return _fit(
            plugin, settings, beside, (rows, validation, test), folder, resume, more, temporary=directory is None
        )
    except BaseException:
        if directory is None:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _fit(
    plugin: Any, settings: Any, beside: Sequence[Any], wanted: tuple[int, bool, bool], folder: Path, resume: bool,
    more: Mapping[str, Any], *, temporary: bool,
) -> TinyFit:  # fmt: skip
    from stepbus.api import create_trainer

    recorder = Recorder()
    said = more.get("data")
    tree = tiny_tree(folder, said.get("task") if isinstance(said, Mapping) else None)
    if "config" in more:
        raise PluginError(
            "config: expected sections and settings as keywords, got a config; tiny_fit has one of its own"
        )
    more, passed = {name: value for name, value in more.items() if name != "plugins"}, more.get("plugins") or {}
    if not isinstance(passed, Mapping):
        words = "expected the settings of installed plugins by name, or False to switch one off, got"
        raise PluginError(f"plugins: {words} {show_python(passed)}; classes and objects are handed over in beside")
    tree["plugins"] |= passed
    extras: list[Any] = [recorder]
    pairs = [each if isinstance(each, tuple) else (each, None) for each in beside]
    names = iter(own_names([given for given, _ in [(plugin, settings), *pairs]]))
    for given, chosen in [(plugin, settings), *pairs]:
        if inspect.isclass(given):
            own = {} if chosen is None else dict(chosen) if isinstance(chosen, Mapping) else plain(chosen)
            name = next(names)
            under = tree["plugins"].get(name)
            tree["plugins"][name] = {**(under if isinstance(under, Mapping) else {}), "use": _named(given), **own}
        elif chosen is not None:
            raise PluginError(f"expected a class beside settings, got {type(given).__name__}")
        elif given is not None:
            extras.append(given)
    trainer = create_trainer(config=tree, plugins=extras, **more)
    own_rows = trainer.config.data.settings.train is not None
    rows, validation, test = wanted
    train = None if own_rows else tiny_rows(rows, 1)
    held_out = None if own_rows or not validation else tiny_rows(VALIDATION_ROWS, 2)
    unlabelled = {name: cells for name, cells in tiny_rows(TEST_ROWS, 3).items() if name in ("id", "text")}
    result = trainer.train(train, held_out, test=unlabelled if test else None, resume=resume)
    found = TinyFit(trainer, result, recorder.events, folder / "run")
    if temporary:
        weakref.finalize(found, shutil.rmtree, folder, ignore_errors=True)
    return found


def _named(cls: type) -> str:
    """Return a class as `use:` names it, also one that a function made: a module of its own holds it."""
    name = f"stepbus_tiny_{cls.__module__.replace('.', '_')}_{id(cls)}"
    module = ModuleType(name)
    module.__file__ = f"{cls.__module__.rpartition('.')[2]}.py"
    setattr(module, cls.__name__, cls)
    sys.modules[name] = module
    return f"{name}:{cls.__name__}"
