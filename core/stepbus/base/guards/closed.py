"""Optimizers that say so where somebody sets what nobody reads."""

from __future__ import annotations

from typing import Any, ClassVar


class Closed:
    """An optimizer that plugins hold: once it is closed, what is set on it is heard or refused, and never unheard."""

    _settable: ClassVar[frozenset[str]] = frozenset()
    _closed = False

    def __init_subclass__(cls, settable: str = "", **kwargs: Any) -> None:
        """Take the public names that may be set, with spaces between them."""
        super().__init_subclass__(**kwargs)
        cls._settable = frozenset(settable.split())

    def __setattr__(self, name: str, value: Any) -> None:
        if self._closed and not name.startswith("_") and name not in self._settable:
            raise AttributeError(
                f"optimizer.{name} cannot be set here, where nothing would read it; settings stand in section "
                "optimizer and, of single parameters, in the hook parameter_groups; trainer.optimizer.learning_rate "
                "may be set between two updates"
            )
        super().__setattr__(name, value)
