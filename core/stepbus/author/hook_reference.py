"""The hook reference, read from the hookspecs: their docstrings say when they fire, what they give and return."""

from __future__ import annotations

import inspect
import textwrap

from attrs import frozen

from stepbus.author.kinds import entries, line, sections, wrapped
from stepbus.kernel import events


@frozen
class Hook:
    """One hook, as its specification says it.

    Args:
        name: Its name.
        arguments: Argument -> what it holds; "" where its name says it all.
        purpose: The docstring's first sentence.
        returns: What a return value does, or "".
        kind: What sets it apart, as words: "watches and asks", "of a fit", "threaded".
    """

    name: str
    arguments: dict[str, str]
    purpose: str
    returns: str
    kind: tuple[str, ...]

    @property
    def signature(self) -> str:
        """The hook with its arguments: "on_step_end(trainer, state, step)"."""
        return f"{self.name}({', '.join(self.arguments)})"


def reference() -> dict[str, Hook]:
    """Return every hook by name, in the order of `events.py`, which is that of a run."""
    return {name: _read(name, arguments) for name, arguments in events.specifications().items()}


def _read(name: str, arguments: tuple[str, ...]) -> Hook:
    function = getattr(events, name)
    parts = sections(inspect.getdoc(function) or "")
    said = entries(parts.get("Args", ""))
    kind = ["changes the computation" if name in events.BUILD_HOOKS else "watches and asks"]
    kind.append("of the run" if name in events.RUN_HOOKS else "of a fit")
    if name in events.THREADED:
        kind.append("threaded")
    if function.stepbus_spec.get("firstresult"):
        kind.append("first result decides")
    if function.stepbus_spec.get("warn_on_impl"):
        kind.append("deprecated")
    return Hook(
        name, {each: said.get(each, "") for each in arguments}, parts[""], line(parts.get("Returns", "")), tuple(kind)
    )


def timeline() -> str:
    """Return the order of a run, as pseudo-code."""
    text = (events.__doc__ or "").split("skip them):\n")[1].split("Beside the order")[0]
    return textwrap.dedent(text).strip()


def as_text(hook: Hook) -> str:
    """Return one hook for the terminal."""
    lines = [hook.signature, f"  {', '.join(hook.kind)}", *wrapped(hook.purpose, "  ")]
    for name, meaning in hook.arguments.items():
        if meaning:
            lines += wrapped(f"{name}: {meaning}", "    ")
    if hook.returns:
        lines += wrapped(f"returns: {hook.returns}", "    ")
    return "\n".join(lines)


def as_markdown() -> str:
    """Return the whole reference as CONTRIBUTING.md has it: the order of a run, then each hook."""
    lines = ["```text", timeline(), "```", ""]
    for hook in reference().values():
        lines += [f"- **`{hook.signature}`** ({', '.join(hook.kind)}). {hook.purpose}"]
        lines += [f"  - `{name}`: {meaning}" for name, meaning in hook.arguments.items() if meaning]
        if hook.returns:
            lines += [f"  - returns: {hook.returns}"]
    return "\n".join(lines) + "\n"
