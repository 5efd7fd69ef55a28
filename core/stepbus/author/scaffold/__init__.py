"""New plugins to start from, as one file or as a whole distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.author.scaffold.files import names as names
    from stepbus.author.scaffold.files import write_distribution as write_distribution
    from stepbus.author.scaffold.files import write_file as write_file
    from stepbus.author.scaffold.files import yaml_lines as yaml_lines
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        files="names write_distribution write_file yaml_lines",
    )
