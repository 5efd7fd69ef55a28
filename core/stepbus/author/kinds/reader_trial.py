"""A reader tried out on small text files of its own ending; a format that none of them is shows nothing."""

from __future__ import annotations

import inspect
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepbus.base import DataError, PluginError, Selected

if TYPE_CHECKING:
    from stepbus.text.rows import Source

# Three rows each, as some formats write them.
CONTENTS = (
    "text,label\na good film,1\na bad film,0\na great film,1\n",
    "text\tlabel\na good film\t1\na bad film\t0\na great film\t1\n",
    "1|a good film\n0|a bad film\n1|a great film\n",
    "[a]\ntext = a good film\nlabel = 1\n\n[b]\ntext = a bad film\nlabel = 0\n\n[c]\ntext = a great film\nlabel = 1\n",
    '{"text": "a good film", "label": 1}\n{"text": "a bad film", "label": 0}\n{"text": "a great film", "label": 1}\n',
    '[{"text": "a good film", "label": 1}, {"text": "a bad film", "label": 0}, {"text": "a great film", "label": 1}]\n',
    "<rows>\n<row text='a good film' label='1'/>\n<row text='a bad film' label='0'/>\n"
    "<row text='a great film' label='1'/>\n</rows>\n",
)


def trial_of_reader(selected: Selected) -> str:
    """Return what is wrong with what a reader builds and with the rows that it returns, or nothing.

    It may refuse any of the files, and raise what it likes; what it returns for one of them is to be rows, and the
    same rows when it reads the file again. One whose sources are no files is not asked to read.

    Args:
        selected: The reader, with its default settings.
    """
    part = selected.build()
    if not callable(getattr(part, "read", None)):
        return f"expected its build to return something with a method read(source), got a {type(part).__name__}"
    try:
        inspect.signature(part.read).bind(None)
    except TypeError as error:
        return f"expected read(source), got one that takes other arguments ({error})"
    except ValueError:
        pass  # it does not say what it takes
    problems = []
    with tempfile.TemporaryDirectory(prefix="stepbus-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for place, content in enumerate(CONTENTS):
            source = _source(selected.component.metadata, Path(folder), place, content)
            if source is None:
                return ""
            problem = _rows_problem(selected, part, source)
            if problem == "":
                return ""  # files of another format may look like rows to it, and give odd ones
            problems += [problem] if problem else []
    return problems[0] if problems else ""


def _source(facts: Mapping[str, Any], folder: Path, place: int, content: str) -> Source | None:
    """Write a file that a reader takes and return it as a source; None for a reader whose sources are no files."""
    from stepbus.text.rows import Source

    suffix, scheme = next(iter(facts.get("suffixes", ())), ""), next(iter(facts.get("schemes", ())), "")
    if not suffix and not facts.get("file"):
        return None
    file = folder / f"rows-{place}{suffix or '.txt'}"
    file.write_text(content, encoding="utf-8")
    label = file.name if suffix else f"{scheme}:{file.name}"
    return Source(label, str(file) if suffix else f"{scheme}:{file}", suffix, file=str(file))


def _rows_problem(selected: Selected, part: Any, source: Source) -> str | None:
    """Return what is wrong with what a reader returns for a file, "" for nothing, None where it refuses the file."""
    from stepbus.text.rows import checked_rows

    frames = []
    for _ in range(2):
        try:
            found = part.read(source)
            found = list(found) if isinstance(found, Iterator) else found
        except Exception:
            return None
        try:
            frames.append(checked_rows(found, selected, source)[0])
        except PluginError as error:
            return str(error).removeprefix(f"{selected.maker.said}: ")
        except DataError:  # no rows, or two columns of one name
            return None
    if not frames[0].equals(frames[1]):
        return "reading a file twice: expected the same rows in the same order, got others"
    return ""
