"""Files, frames and lists as rows: cells, tables, ids, sets and splits."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.text.rows.cells import FALSE as FALSE
    from stepbus.text.rows.cells import GAPS as GAPS
    from stepbus.text.rows.cells import NO as NO
    from stepbus.text.rows.cells import TRUE as TRUE
    from stepbus.text.rows.cells import WHOLE as WHOLE
    from stepbus.text.rows.cells import YES as YES
    from stepbus.text.rows.cells import Kind as Kind
    from stepbus.text.rows.cells import are_codes as are_codes
    from stepbus.text.rows.cells import as_number as as_number
    from stepbus.text.rows.cells import ends_in_zero as ends_in_zero
    from stepbus.text.rows.cells import is_number as is_number
    from stepbus.text.rows.cells import odd_ones as odd_ones
    from stepbus.text.rows.cells import one_time as one_time
    from stepbus.text.rows.frames import a_thing as a_thing
    from stepbus.text.rows.frames import as_texts as as_texts
    from stepbus.text.rows.parts import refuse_weightless as refuse_weightless
    from stepbus.text.rows.parts import rows_that_count as rows_that_count
    from stepbus.text.rows.parts import set_aside as set_aside
    from stepbus.text.rows.parts import split_rows as split_rows
    from stepbus.text.rows.parts import weighed as weighed
    from stepbus.text.rows.readers import checked_rows as checked_rows
    from stepbus.text.rows.readers import label_of as label_of
    from stepbus.text.rows.readers import readers_in_use as readers_in_use
    from stepbus.text.rows.sources import Reader as Reader
    from stepbus.text.rows.sources import Source as Source
    from stepbus.text.rows.table import Rows as Rows
    from stepbus.text.rows.table import read_rows as read_rows
    from stepbus.text.rows.table import shown as shown
    from stepbus.text.rows.weights import LARGEST as LARGEST
    from stepbus.text.rows.weights import ROUNDING as ROUNDING
    from stepbus.text.rows.weights import SMALLEST as SMALLEST
    from stepbus.text.rows.weights import WEIGHT as WEIGHT
    from stepbus.text.rows.weights import FloatArray as FloatArray
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        cells="FALSE GAPS Kind NO TRUE WHOLE YES are_codes as_number ends_in_zero is_number odd_ones one_time",
        frames="a_thing as_texts",
        readers="checked_rows label_of readers_in_use",
        parts="refuse_weightless rows_that_count set_aside split_rows weighed",
        sources="Reader Source",
        table="Rows read_rows shown",
        weights="FloatArray LARGEST ROUNDING SMALLEST WEIGHT",
    )
