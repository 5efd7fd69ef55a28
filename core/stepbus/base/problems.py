"""What is wrong with a configuration, one thing at a time."""

from __future__ import annotations

from attrs import evolve, field, frozen
from attrs.converters import optional

from stepbus.base.quoting import printable, sentence, without_secrets


@frozen
class Problem:
    """One thing that is wrong with a configuration.

    Args:
        path: The setting: "data.train". A plugin writes its own with a dot first, ".from_epoch", which is
            plugins.NAME.from_epoch under the name that the configuration gives it; "." alone is the plugin itself.
        message: What was expected there, what came, and what to do.
        file: The file that it is written in; found by the path where it is left out.
        line: The line there.

    Example:
        >>> print(Problem("optimizer.learning_rate", "expected a number above 0, got -1", file="run.yaml", line=7))
        run.yaml:7: optimizer.learning_rate: expected a number above 0, got -1
    """

    path: str = field(converter=printable)
    message: str = field(converter=sentence)
    file: str | None = field(default=None, converter=optional(without_secrets))
    line: int | None = None

    def below(self, place: str) -> Problem:
        """Return it with its whole path, of which a dot at the beginning stands for a place.

        Args:
            place: Where the settings of who found it stand: "plugins.freeze".
        """
        return evolve(self, path=f"{place}{self.path}".rstrip(".")) if self.path.startswith(".") else self

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        return ": ".join(part for part in (place, self.path, self.message) if part)
