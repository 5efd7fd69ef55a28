"""What is wrong with a configuration, one thing at a time."""

from __future__ import annotations

from attrs import field, frozen
from attrs.converters import optional

from stepbus.base.quoting import printable, sentence, without_secrets


@frozen
class Problem:
    """One thing that is wrong with a configuration."""

    path: str = field(converter=printable)
    message: str = field(converter=sentence)
    file: str | None = field(default=None, converter=optional(without_secrets))
    line: int | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        return ": ".join(part for part in (place, self.path, self.message) if part)
