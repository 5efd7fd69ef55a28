"""A table's rows as texts that an encoder can read."""

from __future__ import annotations

from typing import ClassVar

from stepbus import Component
from stepbus_plugins.table_data.settings import TableDataConfig
from stepbus_plugins.table_data.text import TableText


class TableData:
    """Tell each row of a table as text, by a template."""

    components: ClassVar[list[Component]] = [Component("data", "table", TableDataConfig, TableText)]
