"""The classic style: a class whose `on_…` methods are hooks without further marking."""

from __future__ import annotations

from typing import Any

from stepbus.base.markers import hookimpl


class Callback:
    """Base of plugins in the classic style: every method called `on_…` becomes a hook implementation.

    Example:
        >>> class Says(Callback):
        ...     def on_epoch_end(self, trainer, state):
        ...         print("epoch", state.epoch, "ended after update", state.step)
        >>> _ = create_trainer(config="run.yaml", callbacks=[Says()], num_epochs=2).train()
        epoch 0 ended after update 8
        epoch 1 ended after update 16
    """

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        for name, function in list(vars(cls).items()):
            if name.startswith("on_") and callable(function) and not hasattr(function, "stepbus_impl"):
                setattr(cls, name, hookimpl(function))
