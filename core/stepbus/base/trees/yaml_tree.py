"""YAML and JSON text as a tree whose every value knows its file and line.

The reading is stricter than YAML 1.1: `2e-5` is a number, only true and false are booleans, dates stay text, and
duplicate keys, anchors, aliases, merge keys and tags are refused. What is refused cannot surprise anybody.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import yaml
from attrs import frozen
from yaml.composer import Composer, ComposerError

from stepbus.base import ConfigError, Problem, show

# Where a value stands: names of mappings, numbers in lists.
Keys = tuple[str | int, ...]

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
TOO_DEEP = f"expected at most {MAX_DEPTH} levels of nesting, got more"
MAX_VALUES = 50_000

# The C parser reads a megabyte in a fraction of a second, the Python one in many.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,300})")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?")
_FLOAT_WORDS = {".inf": math.inf, "+.inf": math.inf, "-.inf": -math.inf, ".nan": math.nan}
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SURROGATE_PAIR = re.compile(r"\\\\|\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@frozen
class Mark:
    """Where a value was written.

    Args:
        file: The file as the user knows it, `--set`, or None for a value from Python.
        line: Its line, from 1.
        folder: What relative paths in the value start from; None is the working directory.
        text: The value's own text, where the schema may still decide that it is text (`--set`).
        written: The path that the user wrote, where an alias moved the value.
        stale: The value was meant for another `type:` of its section.
        preset: The file is a preset, which is not the user's.
        unsaid: Of a settings object the settings that have their default, set or not, with that default.
        yields: Other keywords of a call may say otherwise: it is what a model that is there was made with.
        flat: The section whose flat class set the value in Python, which has the settings of all types; else "".
    """

    file: str | None = None
    line: int | None = None
    folder: Path | None = None
    text: str | None = None
    written: str | None = None
    stale: bool = False
    preset: bool = False
    yields: bool = False
    flat: str = ""
    unsaid: tuple[tuple[str, Any], ...] = ()


@frozen
class Node:
    """A value with its mark: a scalar, a list of nodes, or a mapping of nodes by key."""

    value: Any
    mark: Mark = Mark()

    def plain(self) -> Any:
        """Return the value without marks."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def walk(self, path: Keys = ()) -> Iterator[tuple[Keys, Node]]:
        """Yield every path with its node, the node itself first."""
        yield path, self
        if isinstance(self.value, dict):
            for key, node in self.value.items():
                yield from node.walk((*path, key))
        elif isinstance(self.value, list):
            for index, node in enumerate(self.value):
                yield from node.walk((*path, index))

    def remark(self, change: Callable[[Mark], Mark]) -> Node:
        """Return the same values with every mark changed."""
        value = self.value
        if isinstance(value, dict):
            value = {key: node.remark(change) for key, node in value.items()}
        elif isinstance(value, list):
            value = [node.remark(change) for node in value]
        return Node(value, change(self.mark))


def scalar(text: str) -> Any:
    """Return what a plain scalar means: None, a boolean, an int, a float, or the text itself."""
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text[0] in "tT"
    if _INT.fullmatch(text):
        return int(text)
    if FLOAT.fullmatch(text):
        return float(text)
    return _FLOAT_WORDS.get(text.lower(), text)


def read_tree(path: Path, shown: str | None = None) -> Node:
    """Read a YAML or JSON file whose top is a mapping.

    Args:
        path: The file.
        shown: How messages name it; the path itself if None.

    Raises:
        ConfigError: The file cannot be read, is no text, or is refused.
    """
    shown = shown or str(path)
    try:
        if path.is_dir():
            raise _error("expected a file, got a folder", shown)
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise _error(f"the file cannot be read: {reason}", shown) from error
    if len(data) > MAX_BYTES:
        raise _error(f"expected at most {MAX_BYTES:,} bytes, the file is longer", shown)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _error(f"expected UTF-8 text, got the byte 0x{data[error.start]:02x}", shown, line) from error
    if path.suffix.lower() == ".json":
        # JSON may indent with tabs, YAML may not; inside JSON strings a bare tab is not allowed anyway. And JSON writes
        # characters beyond U+FFFF as two escapes, which YAML refuses.
        text = _SURROGATE_PAIR.sub(_one_character, text.replace("\t", " "))
    mark = Mark(shown, 1, path.parent.absolute())
    tree = parse(text, mark)
    if tree is None:
        raise _error("expected a mapping of sections, the file is empty", shown, 1)
    if not isinstance(tree.value, dict):
        raise _error(f"expected a mapping of sections, got {show(tree.value)}", shown, tree.mark.line)
    return tree


def _one_character(match: re.Match[str]) -> str:
    if match[1] is None:
        return match[0]
    return chr(0x10000 + ((int(match[1], 16) & 0x3FF) << 10) + (int(match[2], 16) & 0x3FF))


def parse(text: str, mark: Mark) -> Node | None:
    """Parse one YAML document; the marks of its values take file and folder from `mark`.

    Returns:
        The tree, or None where there is no document.

    Raises:
        ConfigError: The text is no YAML, or holds what is refused.
    """
    odd = _UNPRINTABLE.search(text)
    if odd:
        line = text.count("\n", 0, odd.start()) + 1
        raise _error(f"expected text, got the control character U+{ord(odd[0]):04X}", mark.file, line)
    composer = _Composer(text, mark)
    try:
        root = composer.get_single_node()
        return None if root is None else composer.marked(root, root.start_mark.line + 1)
    except yaml.MarkedYAMLError as error:
        where = error.problem_mark or error.context_mark
        line = where.line + 1 if where else 1
        lines = text.splitlines()
        written = lines[line - 1] if line <= len(lines) else ""
        if isinstance(error, ComposerError):
            raise composer.refuse("expected one document, got a second one after ---", line) from error
        what = ", ".join(part for part in (error.context, error.problem) if part)
        if "nesting depth" in what:  # libyaml from 0.2.6 on reads ahead, and stops before an event of ours does
            raise _error(TOO_DEEP, mark.file, line) from error
        if "\t" in written[: len(written) - len(written.lstrip())]:
            what = "expected spaces as indentation, got a tab"
        raise _error(f"the text is no YAML: {what}", mark.file, line) from error
    except yaml.YAMLError as error:
        raise _error(f"the text is no YAML: {error}", mark.file, 1) from error


class _Composer(Composer):
    """The library's composer, which refuses on the way what could surprise, before anything grows."""

    def __init__(self, text: str, mark: Mark) -> None:
        Composer.__init__(self)
        parser = _LOADER(text)
        self.check_event, self.peek_event, self.get_event = parser.check_event, parser.peek_event, parser.get_event
        self.mark = mark
        self.depth = self.count = 0
        # Of each open mapping, the lines of its keys.
        self.keys: list[dict[str, int]] = []

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a value, or a key: what stands in a mapping and has no index."""
        event = self.peek_event()
        line, is_scalar = event.start_mark.line + 1, isinstance(event, yaml.ScalarEvent)
        self.count += 1
        if self.count > MAX_VALUES:
            raise self.refuse(f"expected at most {MAX_VALUES:,} keys and values, got more", line)
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise self.refuse("anchors and aliases (& and *) are not read; use extends:", line)
        if event.tag is not None:
            raise self.refuse(f"tags are not read, got {event.tag!r}", line)
        if is_scalar and LONE_SURROGATE.search(event.value):
            raise self.refuse("expected text, got half of a character (a surrogate escape)", line)
        if isinstance(parent, yaml.MappingNode) and index is None:
            self.check_key(event, line)
        elif self.depth >= MAX_DEPTH and not is_scalar:
            raise self.refuse(TOO_DEEP, line)
        if is_scalar:
            return self.compose_scalar_node(None)  # type: ignore[arg-type]  # its stub asks for all anchors
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        """Return no tag: what a scalar means is said by `scalar`."""
        return ""

    def descend_resolver(self, parent: Any, index: Any) -> None:
        """Do nothing: no tag goes by a path."""

    def ascend_resolver(self) -> None:
        """Do nothing, as on the way down."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping, no key of which comes twice."""
        self.keys.append({})
        node = super().compose_mapping_node(anchor)
        self.keys.pop()
        return node

    def check_key(self, event: Any, line: int) -> None:
        """Refuse a key that is no name, or that was there before."""
        if not isinstance(event, yaml.ScalarEvent):
            raise self.refuse("expected a name as key, got a list or mapping", line)
        if event.implicit[0] and event.value == "<<":
            raise self.refuse("merge keys (<<) are not read; use extends:", line)
        if event.value == "":
            raise self.refuse("expected a name as key, got nothing before the colon", line)
        if event.value in self.keys[-1]:
            first = self.keys[-1][event.value]
            raise self.refuse(f"the key {event.value!r} is there twice, first in line {first}", line)
        self.keys[-1][event.value] = line

    def marked(self, node: yaml.Node, line: int) -> Node:
        """Return a composed value as a tree; an entry's line is its key's, for a value may start below it."""
        if self.mark.line not in (None, line):
            self.mark = attrs.evolve(self.mark, line=line)
        mark, value = self.mark, node.value
        if isinstance(node, yaml.MappingNode):
            value = {key.value: self.marked(item, key.start_mark.line + 1) for key, item in value}
        elif isinstance(node, yaml.SequenceNode):
            value = [self.marked(item, item.start_mark.line + 1) for item in value]
        elif isinstance(node, yaml.ScalarNode) and not node.style:  # neither quoted nor a block
            value = scalar(value)
        return Node(value, mark)

    def refuse(self, message: str, line: int) -> ConfigError:
        return _error(message, self.mark.file, line if self.mark.line is not None else None)


def _error(message: str, file: str | None, line: int | None = None) -> ConfigError:
    return ConfigError([Problem("", message, file, line)])
