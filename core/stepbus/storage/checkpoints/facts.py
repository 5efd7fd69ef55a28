"""What differs between a checkpoint and the run that wants to resume from it, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stepbus.base import listed
from stepbus.storage import from_json, to_json


def compare_facts(saved: Mapping[str, Any], now: Mapping[str, Any], ignore: Sequence[str] = ()) -> list[str]:
    """Return what differs, one sentence each: "optimizer.learning_rate was 5e-05, is 0.0001".

    The trees under "config" and "conditions" are compared one by one, under their own names. The table under "plugins",
    name -> {"distribution": …, "version": …}, is compared plugin by plugin, and by the order in which they are called.
    The digests of the configuration and of a plugin's settings are skipped: the tree says more, and what may differ in
    the tree differs in its digest. The precision in use is compared where the setting is the same: `auto` may choose
    another one on another device. Skipped is also whether a plugin only watches, which decides what may differ. Every
    other fact goes by its key.

    Args:
        saved: Facts of the checkpoint.
        now: Facts of the run.
        ignore: Names that may differ, with everything below them ("environment.output_dir", "plugins.progress").

    Returns:
        Sentences in order of name; none where nothing differs.
    """
    # What a checkpoint gave back went through JSON, where tuples become lists.
    before, after = (dict(_facts(from_json(to_json(dict(facts))))) for facts in (saved, now))
    switched = [
        f"{name}."
        for name in sorted({*before, *after})
        if _is_plugin(name) and (name in before) != (name in after)  # its settings came or went with it
    ]
    follows = _follows(before, after)
    lines = []
    for name in sorted({*before, *after}):
        if name.startswith(tuple(switched)) or _ignored(name, [*ignore, *follows]):
            continue
        if not _same(before.get(name, _ABSENT), after.get(name, _ABSENT)):
            lines.append(f"{name} was {_words(name, before)}, is {_words(name, after)}")
    shared = {name for name in before if _is_plugin(name) and name in after and not _ignored(name, ignore)}
    orders = [[name.partition(".")[2] for name in names if name in shared] for names in (before, after)]
    if orders[0] != orders[1]:
        lines.append("the order of the plugins was {}, is {}".format(*(", ".join(order) for order in _moved(*orders))))
    return lines


def _follows(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the facts that need no sentence of their own: the precision in use, where another one was set."""
    setting, fact = "training.precision", "precision"
    same = before.get(setting) == after.get(setting)
    return [] if same and fact in before and fact in after else [fact]


def _ignored(name: str, ignore: Sequence[str]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in ignore)


def _moved(before: list[str], after: list[str]) -> tuple[list[str], list[str]]:
    """Return two orders of the same names without what they begin and end with alike."""
    differ = [place for place, (one, other) in enumerate(zip(before, after, strict=True)) if one != other]
    part = slice(differ[0], differ[-1] + 1)
    return before[part], after[part]


_ABSENT = object()


def _is_plugin(name: str) -> bool:
    return name.startswith("plugins.") and name.count(".") == 1


def _facts(facts: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield (dotted name, value), a plugin's row as one value."""
    for key, value in facts.items():
        if key not in ("plugins", "config_digest"):
            yield from _leaves("" if key in ("config", "conditions") else key, value)
    for name, row in facts.get("plugins", {}).items():
        if isinstance(row, dict):
            row = _Row({key: value for key, value in row.items() if key not in ("settings", "watches")})
        yield f"plugins.{name}", row


class _Row(dict[str, Any]):
    """Where a plugin comes from."""

    def __repr__(self) -> str:
        return " ".join(str(value) for value in self.values() if value is not None)


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, below in value.items():
            yield from _leaves(f"{name}.{key}".lstrip("."), below)
    elif value != {}:
        yield name, value


def _same(before: Any, after: Any) -> bool:
    """Compare as JSON does, but 1 with 1.0 as equal and 1 with true as different; NaN equals itself."""
    if isinstance(before, list) and isinstance(after, list):
        return len(before) == len(after) and all(map(_same, before, after))
    if isinstance(before, bool) or isinstance(after, bool):
        return before is after
    return bool(before == after) or (before != before and after != after)


def _words(name: str, facts: Mapping[str, Any]) -> str:
    if name not in facts:
        return "off" if _is_plugin(name) else "not set"
    value = facts[name]
    if name == "fits" and isinstance(value, list):
        return listed(str(fit.get("name")) if isinstance(fit, dict) else str(fit) for fit in value)
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
