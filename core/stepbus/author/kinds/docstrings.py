"""Docstrings in parts: what stands first, and the entries below Args and Attributes."""

from __future__ import annotations

import re
import textwrap


def sections(doc: str) -> dict[str, str]:
    """Split a docstring at its "Args:" and "Returns:"; what stands before them is under ""."""
    first, *pieces = re.split(r"^(Args|Attributes|Returns|Raises|Example):\n", doc, flags=re.MULTILINE)
    found, texts = {}, [first]
    for name, text in zip(pieces[::2], pieces[1::2], strict=True):
        # Paragraphs that follow are not indented.
        inside = re.split(r"^(?=[^ \n])", text, maxsplit=1, flags=re.MULTILINE)[0]
        found[name] = textwrap.dedent(inside)
        texts.append(text[len(inside) :])
    return {"": line(" ".join(texts)), **found}


def entries(text: str) -> dict[str, str]:
    """Return name -> words of the entries below "Args:"."""
    pieces = re.split(r"^(\w+): ", text, flags=re.MULTILINE)
    return dict(zip(pieces[1::2], map(line, pieces[2::2]), strict=True))


def line(text: str) -> str:
    """Return a text as one line."""
    return " ".join(text.split())


def wrapped(text: str, indent: str) -> list[str]:
    """Return a text as lines of a terminal."""
    return textwrap.wrap(text, 100, initial_indent=indent, subsequent_indent=f"{indent}  ", break_on_hyphens=False)
