"""Checkpoints as users name them: by a path, by hand, or by a word."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.api.naming.methods import CheckpointMethods as CheckpointMethods
    from stepbus.api.naming.words import checkpoint_of as checkpoint_of
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        methods="CheckpointMethods",
        words="checkpoint_of",
    )
