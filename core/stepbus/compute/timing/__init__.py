"""How long the parts of a step take, which training compiles as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.compute.timing.parts import time_parts as time_parts
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(__name__, parts="time_parts")
