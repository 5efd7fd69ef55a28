"""Tokenizers of model folders, and the tokens they give."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.text.tokens.arrays import Tokens as Tokens
    from stepbus.text.tokens.cache import cache_folder as cache_folder
    from stepbus.text.tokens.cache import encode_cached as encode_cached
    from stepbus.text.tokens.encode import TextTokenizer as TextTokenizer
    from stepbus.text.tokens.folder import TOKENIZER_FILES as TOKENIZER_FILES
    from stepbus.text.tokens.folder import padded_right as padded_right
    from stepbus.text.tokens.folder import tokenizer_files as tokenizer_files
    from stepbus.text.tokens.limits import Limits as Limits
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        arrays="Tokens",
        cache="cache_folder encode_cached",
        encode="TextTokenizer",
        folder="TOKENIZER_FILES padded_right tokenizer_files",
        limits="Limits",
    )
