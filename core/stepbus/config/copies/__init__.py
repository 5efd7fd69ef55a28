"""How a configuration is copied and pickled."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.config.copies.copying import CopiedConfig as CopiedConfig
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(__name__, copying="CopiedConfig")
