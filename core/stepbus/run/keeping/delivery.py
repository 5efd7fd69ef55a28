"""What plugins of scope "run" were told of results, and what they remembered right then: delivered.json of a run.

It is written after each hook that tells of a result, and at the end of each fit before the ledger has it. So a resume
knows what was told, and puts back what plugins remembered, whether a kill came before or after a fit was done. A kill
between a hook and its record has the hook called again, with the memory from before it: what a plugin remembers counts
once, and what it did elsewhere may be done twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import asdict, field, frozen

from stepbus.base import CheckpointError, fields_of, named, read_file, text
from stepbus.fit.plugins import restore_state, state_of
from stepbus.storage import (
    PLAIN_NAME,
    Written,
    check_file,
    decode_state,
    encode_state,
    read_tensors,
    sealed,
    unsealed,
    write_json_atomically,
    write_tensors,
    written_from,
)

if TYPE_CHECKING:
    from stepbus.kernel import Bus

DELIVERED = "delivered.json"
ARRAYS = "delivered-*.safetensors"
_PARTS = ("run", "number", "told", "after", "ended", "digest")


@frozen
class Memory:
    """What the plugins of a run remembered at a moment.

    Args:
        plain: Plugin -> its state, arrays left out.
        file: The file of the arrays; "" where there are none.
        written: What that file holds.
        fit: The fit at whose end this was; "" right after something was told.
        decisions: Plugin -> what it had decided.
    """

    plain: Mapping[str, Any] = field(factory=dict)
    file: str = ""
    written: Written | None = None
    fit: str = ""
    decisions: Mapping[str, Any] = field(factory=dict)

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "fit": self.fit,
            "plugins": dict(self.plain),
            "decisions": dict(self.decisions),
            "arrays": {"file": self.file, **asdict(self.written)} if self.written else None,
        }


class Deliveries:
    """What was told in a run.

    Args:
        directory: Gives the run's folder, which may be another one until the run holds it.
        run_id: Gives the run's number.
        decisions: Gives what plugins decided in the run, by name.
    """

    def __init__(
        self, directory: Callable[[], Path], run_id: Callable[[], str], decisions: Callable[[], dict[str, Any]] = dict
    ) -> None:
        self._directory, self._run_id, self._decisions = directory, run_id, decisions
        self.told: list[str] = []
        self.number = 0
        self.after, self.ended = Memory(), Memory()

    @property
    def place(self) -> Path:
        """Where it is written."""
        return self._directory() / DELIVERED

    def read(self) -> bool:
        """Take over what an earlier process wrote; return whether it wrote anything.

        Raises:
            CheckpointError: It is damaged, or of another run.
        """
        if not os.path.lexists(self.place):
            return False
        try:
            saved = fields_of(unsealed(read_file(self.place, CheckpointError, links=False)), "the file", _PARTS)
            if saved["run"] != self._run_id():
                raise ValueError("it is of another run")
            if not isinstance(saved["told"], list) or not isinstance(saved["number"], int):
                raise ValueError("told: expected a list")
            self.told, self.number = [text(what, "told") for what in saved["told"]], saved["number"]
            self.after, self.ended = self._memory(saved["after"]), self._memory(saved["ended"])
        except CheckpointError as error:
            raise CheckpointError(self._again(str(error).removeprefix(f"{self.place}: "))) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(self._again(str(error))) from error
        return True

    def _again(self, problem: str) -> str:
        return (
            f"{self.place}: expected what plugins were told of finished fits, got a damaged file ({problem}); remove "
            "it, and they are told again of every one, remembering nothing"
        )

    def _memory(self, saved: Any) -> Memory:
        parts = fields_of(saved, "after, ended", ("fit", "plugins", "decisions", "arrays"))
        plain = named(parts["plugins"], "plugins", lambda value, _: value)
        decisions = named(parts["decisions"], "decisions", lambda value, _: value)
        if parts["arrays"] is None:
            return Memory(plain, fit=text(parts["fit"], "fit"), decisions=decisions)
        arrays = dict(parts["arrays"])
        name = text(arrays.pop("file"), "file")
        if not PLAIN_NAME.fullmatch(name):
            raise ValueError(f"expected the name of a file, got {name!r}")
        return Memory(plain, name, written_from(arrays), text(parts["fit"], "fit"), decisions)

    def restore(self, bus: Bus, done: Iterable[str]) -> None:
        """Put back what plugins remembered, before they hear that the run begins.

        Args:
            bus: The plugins of the run.
            done: The names of the fits that the ledger has.

        Raises:
            CheckpointError: It is damaged, or a plugin cannot read it.
        """
        memory = self.ended if self.ended.fit and self.ended.fit in done else self.after
        place = self._directory() / memory.file if memory.file else self.place
        self._decisions().update(memory.decisions)
        try:
            if memory.written is not None:
                check_file(place, memory.written)
            arrays = read_tensors(place) if memory.written is not None else {}
            states = {name: decode_state(plain, arrays) for name, plain in memory.plain.items()}
        except (OSError, ValueError, CheckpointError) as error:
            raise CheckpointError(self._again(str(error))) from error
        try:
            restore_state(bus, states)
        except CheckpointError as error:
            raise CheckpointError(f"{self.place}: {error}") from error

    @property
    def fits(self) -> list[str]:
        """The names of the fits that were told of."""
        return [what.removeprefix("fit ") for what in self.told if what.startswith("fit ")]

    def forget(self, fits: Iterable[str]) -> list[str]:
        """Take back that plugins were told of some fits, which are done again, and of what was combined of them.

        What was remembered after that is not put back: a checkpoint of the first of them has what goes with the rest.

        Args:
            fits: The names of the fits.

        Returns:
            The names of those that were told.
        """
        gone = [fit for fit in fits if fit in self.fits]
        if gone:
            without = {f"fit {fit}" for fit in gone}
            self.told = [what for what in self.told if what not in without and not what.startswith("axis ")]
            self.after, self.ended = Memory(decisions=self.after.decisions if self.told else {}), Memory()
        return gone

    def note_end(self, bus: Bus, fit: str) -> None:
        """Write down what plugins remember at the end of a fit, which the ledger has next.

        Of one that was done before and is done again, and of what is combined of it, nothing was told then.

        Args:
            bus: The plugins of the run.
            fit: The fit's name.
        """
        self.told = [what for what in self.told if what != f"fit {fit}" and not what.startswith("axis ")]
        self.ended = self._taken(bus, fit)
        self._write()

    def note_told(self, bus: Bus, what: str) -> None:
        """Write down that something was told, and what plugins remember now.

        Args:
            bus: The plugins of the run.
            what: What was told.
        """
        self.told.append(what)
        self.after, self.ended = self._taken(bus), Memory()
        self._write()

    def _taken(self, bus: Bus, fit: str = "") -> Memory:
        plain: dict[str, Any] = {}
        arrays: dict[str, Any] = {}
        for name, state in state_of(bus).items():
            plain[name], found = encode_state(name, state)
            arrays |= found
        self.number += 1
        if not arrays:
            return Memory(plain, fit=fit, decisions=dict(self._decisions()))
        name = ARRAYS.replace("*", str(self.number))
        (self._directory() / name).unlink(missing_ok=True)  # of a process that was killed before it was named
        written = write_tensors(self._directory() / name, arrays)
        return Memory(plain, name, written, fit, dict(self._decisions()))

    def _write(self) -> None:
        document = {
            "run": self._run_id(),
            "number": self.number,
            "told": self.told,
            "after": self.after.document(),
            "ended": self.ended.document(),
        }
        write_json_atomically(self.place, sealed(document))
        for path in self._directory().glob(ARRAYS):
            if path.stem.partition("-")[2].isdecimal() and path.name not in (self.after.file, self.ended.file):
                path.unlink()
