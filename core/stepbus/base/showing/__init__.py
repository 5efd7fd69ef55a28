"""What is shown in notebooks: tables, paths as they are named from here, and errors in a few lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.base.showing.pages import html_table as html_table
    from stepbus.base.showing.pages import short_path as short_path
    from stepbus.base.showing.tracebacks import short_traceback as short_traceback
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        pages="html_table short_path",
        tracebacks="short_traceback",
    )
