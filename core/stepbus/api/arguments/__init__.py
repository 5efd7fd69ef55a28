"""What callers hand over, looked at once: what a trainer is made of, and rows by the original's names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.api.arguments.given import given_to_trainer as given_to_trainer
    from stepbus.api.arguments.given import is_section as is_section
    from stepbus.api.arguments.given import listed_plugins as listed_plugins
    from stepbus.api.arguments.loaders import by_either_name as by_either_name
    from stepbus.api.arguments.loaders import check_epochs as check_epochs
    from stepbus.api.arguments.loaders import prefix_of as prefix_of
    from stepbus.api.arguments.loaders import rows_of as rows_of
    from stepbus.api.arguments.plain import flag as flag
    from stepbus.api.arguments.plain import whole_number as whole_number
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        given="given_to_trainer is_section listed_plugins",
        loaders="by_either_name check_epochs prefix_of rows_of",
        plain="flag whole_number",
    )
