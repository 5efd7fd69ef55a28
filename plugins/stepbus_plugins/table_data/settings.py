"""The settings of `data: {type: table}`, checked before any row is read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from string import Formatter
from typing import Literal

from attrs import define

from stepbus import DataSettings, setting

# ./file.py:function or module:function, as opposed to a format string.
REFERENCE = re.compile(r"[^{}\s]+:[A-Za-z_]\w*")


@define(frozen=True, kw_only=True)
class TableDataConfig(DataSettings):
    """Settings of `data: {type: table}`."""

    columns: list[str] | None = setting(
        None, "columns to tell; none takes all but labels, weight, id, group and unnamed ones"
    )
    kinds: dict[str, Literal["number", "boolean", "words"]] | None = setting(
        None, "what columns hold, by name: number, boolean or words; those not named are told by the training rows"
    )
    template: str | None = setting(
        None,
        "a format string such as '{Sex} aged {Age}', or ./file.py:function or module:function, which is given a row as "
        "a dict and returns a text or a pair; none makes 'column: value; …'",
        location="code",
    )
    numbers: Literal["value", "words", "both"] = setting(
        "words", "how a number is told: as it is, as a word for its rank among the training rows, or both"
    )
    bins: int = setting(
        10, "words on the scale of a number", check=lambda value: 2 <= value <= 100, expected="an int from 2 to 100"
    )
    missing: str = setting("missing", "what is said where a value is missing")

    def problems(self) -> list[tuple[str, str]]:
        """Return what is wrong between the settings, as (setting, message)."""
        if self.template is None or REFERENCE.fullmatch(self.template):
            return []
        try:
            fields = list(template_columns(self.template))
        except ValueError as error:
            return [("template", f"expected columns in braces, such as '{{Sex}} aged {{Age}}', got {error}")]
        if not fields:
            return [("template", f"expected at least one column in braces, or file.py:function, got {self.template!r}")]
        if self.columns is not None:
            return [("columns", "expected either columns or a template that names them, got both")]
        return []

    def notes(self) -> list[tuple[str, str]]:
        """Return what has no effect beside other settings, as (setting, message)."""
        if self.numbers == "value" and self.bins != 10:
            return [("bins", "it has no effect with numbers: value; words and both use it")]
        return []


def template_columns(template: str) -> Iterator[str]:
    """Yield the columns that a format string names.

    Raises:
        ValueError: It has unbalanced braces, empty ones, or asks for a conversion or a format.
    """
    for _, name, form, conversion in Formatter().parse(template):
        if name is None:
            continue
        if not name or form or conversion:
            raise ValueError(f"{{{name}{'!' + conversion if conversion else ''}{':' + form if form else ''}}}")
        yield name
