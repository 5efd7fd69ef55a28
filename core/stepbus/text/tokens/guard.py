"""The Rust tokenizer held at arm's length: whatever a tokenizer's file makes it do, one sentence comes of it.

A panic of the library reaches Python as a BaseException, past every `except Exception`, after its hook has printed to
the standard error. A regular expression that would search for ever ends the same way: the library's engine gives up.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepbus.base import ModelError, json_of, read_foreign

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

MAX_BYTES = 256 * 2**20  # the largest vocabularies in use have a tenth of it
MAX_ID, MAX_TYPE = 2**31 - 1, 2**8 - 1
_one_at_a_time = threading.RLock()  # two that lent each other the descriptor would not give it back


@contextmanager
def guarded(source: str, purpose: str) -> Iterator[None]:
    """Turn whatever the library raises into one sentence.

    Args:
        source: The file, for messages.
        purpose: What was under way: "be read".

    Raises:
        ModelError: The library raised or panicked.
    """
    try:
        yield
    except ModelError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = one_line(str(error).partition("\n")[0], 200)
        raise ModelError(
            f"{source}: expected a tokenizer of the tokenizers library, got one that cannot {purpose} ({reason}); "
            "take the file from the model's author again"
        ) from None


def one_line(text: str, most: int = 500) -> str:
    """Return a sentence that may quote a file, without what would break or colour a line.

    Args:
        text: The sentence.
        most: Letters that it may have.
    """
    shown = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text[: most + 1])
    return shown if len(shown) <= most else f"{shown[:most]}…"


@contextmanager
def without_panic_reports() -> Iterator[None]:
    """Hold back what is written to the standard error, and pass it on unless the block raises.

    The report of a panic goes past Python to the file descriptor itself. Blocks are short, and one at a time.
    """
    with ExitStack() as stack:
        stack.enter_context(_one_at_a_time)
        with suppress(OSError, ValueError, AttributeError):
            sys.stderr.flush()
        try:
            held = stack.enter_context(tempfile.TemporaryFile())
            kept = os.dup(2)
        except OSError:  # closed, or a full disk: then a report is printed or not, as it comes
            yield
            return
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.truncate(0)
            raise
        finally:
            os.dup2(kept, 2)
            held.seek(0)
            if written := held.read():
                os.write(kept, written)
            os.close(kept)


def parse_tokenizer(content: bytes, source: str) -> Tokenizer:
    """Return the tokenizer that a tokenizer.json describes, neither cutting nor padding.

    Args:
        content: What the file holds.
        source: The file, for messages.

    Raises:
        ModelError: The library does not understand the file.
    """
    from tokenizers import Tokenizer

    with guarded(source, "be read"), without_panic_reports():
        tokenizer = Tokenizer.from_str(content.decode("utf-8"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
    return tokenizer


def try_tokenizer(tokenizer: Tokenizer, source: str) -> tuple[Encoding, Encoding]:
    """Try a tokenizer on a text and on a pair.

    Args:
        tokenizer: The tokenizer.
        source: The file, for messages.

    Returns:
        The text and the pair, encoded.

    Raises:
        ModelError: The library cannot use what the file describes.
    """
    with guarded(source, "encode a text"), without_panic_reports():
        word = _readable_word(tokenizer)
        text = tokenizer.encode(word)
        check_texts(text, 1)
        _check_numbers(text)
    with guarded(source, "encode a pair of texts"), without_panic_reports():
        pair = tokenizer.encode(word, word)
        _check_numbers(pair)
    return text, pair


def _readable_word(tokenizer: Tokenizer) -> str:
    """Return a text that has a token: not every tokenizer knows the letter a."""
    for word in ("a", "A", "0", *sorted(tokenizer.get_vocab(with_added_tokens=False))):
        if tokenizer.encode(word, add_special_tokens=False).ids:
            return word
    raise ValueError("it finds no token in any word of its vocabulary")


def check_texts(encoded: Encoding, texts: int) -> None:
    """Refuse a probe whose texts do not stand in it once each, in order, with special tokens around them.

    Args:
        encoded: The probe.
        texts: How many it was made of.

    Raises:
        ValueError: They do not.
    """
    order = [text for text in encoded.sequence_ids if text is not None]
    if order != sorted(order) or sorted(set(order)) != list(range(texts)):
        raise ValueError(f"of a row of {texts} it makes one with the texts {order}")
    marked = zip(encoded.sequence_ids, encoded.special_tokens_mask, strict=True)
    if any(text is None and not special for text, special in marked):
        raise ValueError("its post_processor puts a text into a row twice")


def _check_numbers(encoded: Any) -> None:
    """Refuse a probe whose numbers no array of token ids and types can hold."""
    if max(encoded.ids, default=0) > MAX_ID or max(encoded.type_ids, default=0) > MAX_TYPE:
        raise ValueError(f"it gives the token ids {encoded.ids} of the types {encoded.type_ids}")


def read_files(folder: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """Return the contents of those files that a folder has.

    Args:
        folder: A model folder.
        names: The files to look for.

    Raises:
        ModelError: One of them is no plain file, cannot be read, or is longer than any of its kind.
    """
    return {
        name: read_foreign(folder / name, ModelError, MAX_BYTES) for name in names if os.path.lexists(folder / name)
    }


def json_mapping(files: Mapping[str, bytes], name: str, place: str = "") -> dict[str, Any]:
    """Return what a JSON file of a tokenizer says; nothing, where it is missing.

    Args:
        files: Contents by name.
        name: The file.
        place: What stands before its name in messages: the folder and a slash.

    Raises:
        ModelError: It is no JSON, or no mapping.
    """
    value = json_of(files.get(name, b"{}"), place + name, ModelError)
    if not isinstance(value, dict):
        raise ModelError(f"{place}{name}: expected a mapping, got {type(value).__name__}")
    return value
