"""What a run takes on disk: estimated for `stepbus plan`, and held against what is free when a run begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.run.room.beside import Tensors as Tensors
    from stepbus.run.room.estimating import estimate as estimate
    from stepbus.run.room.estimating import tensor_file as tensor_file
    from stepbus.run.room.estimating import too_little as too_little
    from stepbus.run.room.looking import look as look
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        beside="Tensors",
        estimating="estimate tensor_file too_little",
        looking="look",
    )
