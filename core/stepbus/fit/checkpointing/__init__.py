"""Checkpoints that nobody waits for: taken by reference at a boundary, written by a thread while training goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.fit.checkpointing.disk import DiskCheckpoints as DiskCheckpoints
    from stepbus.fit.checkpointing.serving import serve as serve
    from stepbus.fit.checkpointing.serving import settle as settle
    from stepbus.fit.checkpointing.serving import settle_at_last as settle_at_last
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(__name__, disk="DiskCheckpoints", serving="serve settle settle_at_last")
