"""The smallest real run: rows and a tokenizer made in memory, a model of one layer, and a step that is traced."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.author.sample.hook_trial import hook_problem as hook_problem
    from stepbus.author.sample.rows import tiny_rows as tiny_rows
    from stepbus.author.sample.tree import tiny_tree as tiny_tree
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        hook_trial="hook_problem",
        rows="tiny_rows",
        tree="tiny_tree",
    )
