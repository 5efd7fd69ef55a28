"""JSON Schema of a configuration: from the Config classes that check it, and all spellings that it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.author.schema.configuration import Fragment as Fragment
    from stepbus.author.schema.configuration import configuration_schema as configuration_schema
    from stepbus.author.schema.configuration import fragment as fragment
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(__name__, configuration="Fragment configuration_schema fragment")
