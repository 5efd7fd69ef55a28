"""Hooks that change the computation, tried out on a model of one layer: a step is traced, and nothing is computed."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from stepbus.author.sample.rows import tiny_rows
from stepbus.author.sample.tree import tiny_tree
from stepbus.base import ModelError, PluginError, PluginFailure, StepbusError, snake_case
from stepbus.kernel import hooks_of

if TYPE_CHECKING:
    from stepbus.config.discovery import LoadedPlugin

# What is asked for while a step is made, and when it is traced.
TRIED = frozenset(
    {
        "transform_model", "phases", "trained_parameters", "parameter_groups", "wrap_loss", "wrap_gradient",
        "transform_gradients", "after_update", "training_step", "transform_export",
    }
)  # fmt: skip
ROWS = 24


def hook_problem(loaded: LoadedPlugin) -> str:
    """Return what is wrong with what a plugin's hooks put into a step; "" where all is well, or settings must be given.

    Args:
        loaded: The plugin, imported, with nothing else wrong about it.
    """
    if not TRIED & hooks_of(loaded.cls, loaded.label, loaded.scope).keys():
        return ""
    cls = loaded.config_class
    if cls is not None and any(field.init and field.default is attrs.NOTHING for field in attrs.fields(cls)):
        return ""
    with tempfile.TemporaryDirectory(prefix="stepbus-") as folder:
        try:
            _trace(loaded.cls, Path(folder))
        except (PluginFailure, PluginError, ModelError) as error:
            words = re.split(r"; (?:leave it out of plugins|switch the plugin off|mend it, or switch)", str(error))[0]
            return words.removeprefix(f"{loaded.cls.__name__} (passed in Python): ")
        except StepbusError:
            return ""  # so small a run is not what its default settings are for
    return ""


def _trace(cls: Any, folder: Path) -> None:
    """Make every step of a tiny run with a plugin."""
    from stepbus.compute.models import generators_kept
    from stepbus.compute.stepping import to_device
    from stepbus.config import load_config
    from stepbus.fit import TextFits
    from stepbus.run import FolderStore, Run
    from stepbus.run.plans import plan_run

    tree = tiny_tree(folder)
    name = snake_case(cls.__name__)
    if any(choice.name == name for choice in load_config().plugins):
        tree["plugins"][name] = False  # it is on by itself
    config = load_config(tree, extra_plugins=[cls])
    run = Run(config, TextFits(config, train=tiny_rows(ROWS, 1)), FolderStore(config), plugins=[cls])
    run.store.open(run)
    plan_run(run)
    session = run.session_of(run.main)
    session.assemble()
    for start in session.phases:
        session.state.step = start
        session.compile()
        steps: Any = session.steps
        # A trace that fails leaves its own random state behind.
        with session.data.windows(0, 0) as windows, generators_kept():
            # Not evaluated: kernels of a machine that has none yet take their time to compile.
            steps.traced.train(to_device(next(windows)[0]))
