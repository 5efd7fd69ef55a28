"""Settings of a section as a Python call names them: what was set is remembered, whatever the defaults are."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NoReturn


class _Unset:
    """What a setting has that a call did not name."""

    def __repr__(self) -> str:
        return "<not set>"

    def __copy__(self) -> _Unset:
        return self

    def __deepcopy__(self, _: Any) -> _Unset:
        return self


UNSET: Any = _Unset()


class FlatSettings(Mapping[str, Any]):
    """What was set of one section: a mapping that cannot be changed, and lies over a file or a preset.

    A subclass writes an `__init__` whose arguments are its settings, each `UNSET` by default, and hands `locals()` to
    `_keep`. A setting is an attribute as well.
    """

    section_name: ClassVar[str]
    _given: dict[str, Any]

    def __init_subclass__(cls, section: str) -> None:
        cls.section_name = section

    def _keep(self, arguments: Mapping[str, Any]) -> None:
        """Keep what was named of the arguments of `__init__`; `more` are those without an argument of their own."""
        named = {name: value for name, value in arguments.items() if name not in ("self", "__class__", "more")}
        given = {name: value for name, value in {**named, **arguments["more"]}.items() if value is not UNSET}
        for name, value in given.items():
            given[name] = copy.deepcopy(value) if isinstance(value, list | dict) else value
        object.__setattr__(self, "_given", given)

    def __getitem__(self, name: str) -> Any:
        return self._given[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._given)

    def __len__(self) -> int:
        return len(self._given)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._given:
            has = ", ".join(self._given) if not name.startswith("_") and self._given else "nothing"
            raise AttributeError(f"{type(self).__name__} sets {has}, and no {name}: that stays what it is below")
        return self._given[name]

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} cannot be changed; make another with {name}={value!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} cannot be changed; make another without {name}")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._given.items())})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FlatSettings):
            return NotImplemented
        return type(self) is type(other) and self._given == other._given

    def __hash__(self) -> int:
        return hash((type(self), *sorted(self._given)))

    def __reduce__(self) -> Any:
        return functools.partial(type(self), **self._given), ()
