"""Rows that already hold text: one column, or two for a sentence pair."""

from __future__ import annotations

from typing import Any, ClassVar

from attrs import define

from stepbus import Component, DataError, DataSettings, Rows, setting


@define(frozen=True, kw_only=True)
class TextDataConfig(DataSettings):
    """Settings of `data: {type: text}`."""

    text: str | list[str] = setting(
        "text",
        meaning="column of the text, or two columns for a sentence pair",
        check=lambda value: isinstance(value, str) or (len(value) in (1, 2) and len(set(value)) == len(value)),
        expected="a column, or a list of two different columns",
    )
    missing: str | None = setting(None, "what an empty text is read as; none makes an empty text an error")


class TextColumns:
    """Takes each row's text from its column.

    Args:
        config: The data section.
    """

    def __init__(self, config: TextDataConfig) -> None:
        self.config = config
        self.columns = [config.text] if isinstance(config.text, str) else list(config.text)

    def fit(self, rows: Rows) -> None:
        """Look whether a label is among the texts; there is nothing to learn.

        Raises:
            DataError: A text column is a label too.
        """
        both = [column for column in self.columns if column in self.config.label_columns]
        if both:
            soft = both[0] in (self.config.soft_labels or {}).values()
            raise DataError(
                f"data.text: expected a column that is no label, got {both[0]!r}, which "
                f"data.{'soft_labels' if soft else 'label'} names too"
            )

    def texts(self, rows: Rows) -> tuple[list[str], list[str] | None]:
        """Return the texts as they are written.

        Raises:
            DataError: There is no such column, or a text is empty.
        """
        first, *rest = [self._column(rows, name) for name in self.columns]
        return first, rest[0] if rest else None

    def _column(self, rows: Rows, name: str) -> list[str]:
        rows.column(name, "data.text")
        texts = []
        for index, cell in enumerate(rows.cells(name, "a text is one string; join the parts")):
            if cell is None and self.config.missing is None:
                raise rows.error(
                    index, name, "expected text, got nothing; mend the row, or say in data.missing how to read it"
                )
            texts.append(self.config.missing or "" if cell is None else cell)
        return texts

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: nothing is learnt."""
        return {}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over nothing.

        Raises:
            DataError: There is something, which another component has learnt.
        """
        if saved:
            raise DataError(
                f"source: expected nothing, for data: {{type: text}} learns nothing, got {len(saved)} entries"
            )


class TextData:
    """Read texts or sentence pairs from columns."""

    components: ClassVar[list[Component]] = [Component("data", "text", TextDataConfig, TextColumns)]
