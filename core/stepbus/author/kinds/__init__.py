"""What a component of each kind gets and gives: in words, and tried out on arrays of a few rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.author.kinds.contracts import as_markdown as as_markdown
    from stepbus.author.kinds.contracts import as_text as as_text
    from stepbus.author.kinds.contracts import names as names
    from stepbus.author.kinds.docstrings import entries as entries
    from stepbus.author.kinds.docstrings import line as line
    from stepbus.author.kinds.docstrings import sections as sections
    from stepbus.author.kinds.docstrings import wrapped as wrapped
    from stepbus.author.kinds.trials import kind_problem as kind_problem
    from stepbus.author.kinds.trials import trial_problem as trial_problem
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        contracts="as_markdown as_text names",
        docstrings="entries line sections wrapped",
        trials="kind_problem trial_problem",
    )
