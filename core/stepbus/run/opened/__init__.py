"""What a run keeps to predict with, and the run opened again by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.run.opened.keeping import keep as keep
    from stepbus.run.opened.opening import OpenedRun as OpenedRun
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        keeping="keep",
        opening="OpenedRun",
    )
