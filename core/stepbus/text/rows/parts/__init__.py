"""Rows taken apart, put together and weighed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.text.rows.parts.splits import set_aside as set_aside
    from stepbus.text.rows.parts.splits import split_rows as split_rows
    from stepbus.text.rows.parts.weighing import refuse_weightless as refuse_weightless
    from stepbus.text.rows.parts.weighing import rows_that_count as rows_that_count
    from stepbus.text.rows.parts.weighing import weighed as weighed
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        splits="set_aside split_rows",
        weighing="refuse_weightless rows_that_count weighed",
    )
