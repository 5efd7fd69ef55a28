"""What a plugin's `state_dict` may return, and how it is kept: one codec for checkpoints and for `stepbus.testing`.

What is allowed comes back equal and of the same type; nothing else is taken:

- None, bool, int (of at most 308 digits), float (NaN and the infinities too) and str (of whole characters);
- list, tuple and dict of what is allowed, at most 50 deep; keys of a dict are str or int, and keep their order;
- NumPy arrays of bool, int8 to int64, uint8 to uint64, float16, float32, float64 or complex64, of any shape and layout,
  in the machine's byte order; and NumPy's scalars of these types;
- MLX arrays of those types but float64, and of bfloat16.

Subclasses are not what they derive from (a Counter is no dict). What is refused is named with plugin, path and mend.

In JSON, beside plain values, stand {"$tuple": [item, …]}; {"$items": [[key, value], …]} for a dict with a key that is
no str or begins with "$"; {"$scalar": [dtype, hexadecimal bytes]}; and {"$array": [name, library, dtype]}. The arrays
lie in a file beside it, float64 as the same bits in uint64, since MLX's reader knows no float64.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import re
import sys
import uuid
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np

from stepbus.base import MAX_DIGITS, CheckpointError
from stepbus.base.guards import ReadOnlyDict, ReadOnlyList
from stepbus.storage.durable import from_json, to_json

MAX_DEPTH = 50
NUMPY = tuple(
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64".split()  # noqa: SIM905 - reads better
)
MLX = (*(name for name in NUMPY if name != "float64"), "bfloat16")
ALLOWED = "None, bool, int, float, str, list, tuple, dict with str or int keys, or a NumPy or MLX array of numbers"
MENDS: tuple[tuple[tuple[type, ...], str], ...] = (
    ((set, frozenset), "give sorted(…) in its place"),
    ((datetime.date, datetime.time), "give its isoformat() in its place"),
    ((PurePath,), "give str(…) in its place"),
    ((bytes, bytearray), "give its hex() in its place"),
    ((decimal.Decimal, uuid.UUID), "give str(…) in its place"),
    ((enum.Enum,), "give its value in its place"),
    ((dict,), "give dict(…) in its place"),
    ((list,), "give list(…) in its place"),
    ((tuple,), "give tuple(…) in its place"),
    ((str,), "give str(…) in its place"),
    ((int,), "give int(…) in its place"),
    ((float,), "give float(…) in its place"),
)
# A name that every reader of the format shows as it is.
_PLAIN = re.compile(r"[A-Za-z0-9_.\[\]-]{1,200}")


def encode_state(plugin: str, state: Any, label: str = "") -> tuple[Any, dict[str, Any]]:
    """Return what `state_dict` returned as JSON values, and its arrays, copied, by name.

    Args:
        plugin: The plugin's name; the names of arrays begin with it.
        state: The state.
        label: How messages name the plugin, where that is more than its name.

    Raises:
        CheckpointError: Something in it is not allowed.
    """
    label = label or plugin
    if KINDS.get(type(state), type(state)) is not dict:
        raise CheckpointError(f"{label}: its state_dict() cannot be kept: expected a dict, got {_type(state)}")
    encoder = _Encoder(plugin, label)
    return encoder.encode(state, "", 0), encoder.arrays


def decode_state(plain: Any, arrays: dict[str, Any]) -> Any:
    """Return the state that `encode_state` took apart.

    Args:
        plain: JSON values.
        arrays: Arrays by name, NumPy's or MLX's; those that are used are taken out.

    Raises:
        ValueError: It is something else; the message names the path.
    """
    return _decoded(plain, arrays, "")


def frozen_state(plugin: str, state: Any) -> Any:
    """Return a state as a checkpoint gives it back.

    Raises:
        CheckpointError: Something in it is not allowed.
    """
    plain, arrays = encode_state(plugin, state)
    return decode_state(from_json(to_json(plain)), arrays)


# What hooks are given is kept as what it is a read-only kind of.
KINDS: dict[type, type] = {ReadOnlyDict: dict, ReadOnlyList: list}


class _Encoder:
    def __init__(self, plugin: str, label: str) -> None:
        self.plugin, self.label = plugin, label
        self.arrays: dict[str, Any] = {}

    def encode(self, value: Any, place: str, depth: int) -> Any:
        kind = KINDS.get(type(value), type(value))
        if depth > MAX_DEPTH:
            raise self._refusal(
                place[:80], f"at most {MAX_DEPTH} values within one another", "more, or one within itself", "flatten it"
            )
        if value is None or kind in (bool, float):
            return value
        if kind is int:
            if abs(value) >= 10**MAX_DIGITS:
                raise self._refusal(place, f"an int of at most {MAX_DIGITS} digits", "a longer one", "give str(…)")
            return value
        if kind is str:
            return self._text(value, place)
        if kind is dict:
            return self._dict(value, place, depth)
        if kind in (list, tuple):
            items = [self.encode(item, f"{place}[{at}]", depth + 1) for at, item in enumerate(value)]
            return items if kind is list else {"$tuple": items}
        if isinstance(value, np.generic) and value.dtype.name in NUMPY:
            return {"$scalar": [value.dtype.name, np.array(value, _little(value.dtype.name)).tobytes().hex()]}
        if kind is np.ndarray:
            return self._numpy(value, place)
        if _is_mlx(kind):
            return self._mlx(value, place)
        mend = next((words for base, words in MENDS if isinstance(value, base)), None)
        mend = mend or "give what it is made of, and make it again in load_state_dict"
        raise self._refusal(place, ALLOWED, _type(value), mend)

    def _text(self, value: str, place: str) -> str:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise self._refusal(
                place, "text of whole characters", "half of one (a surrogate)", 'give text.encode("utf-8", "replace")'
            ) from None
        return value

    def _dict(self, value: Mapping[Any, Any], place: str, depth: int) -> Any:
        items = []
        for key, item in value.items():
            if type(key) not in (str, int):
                words = f"{_type(key)} as a key"
                raise self._refusal(place, "keys of type str or int", words, "give a list of pairs in its place")
            inner = f"{place}.{key}".lstrip(".") if isinstance(key, str) else f"{place}[{key}]"
            # A key is a value like another: no half characters, no endless digits.
            items.append((self.encode(key, f"a key of {place}", depth), self.encode(item, inner, depth + 1)))
        if all(isinstance(key, str) and not key.startswith("$") for key, _ in items):
            return dict(items)
        return {"$items": [list(pair) for pair in items]}

    def _numpy(self, value: Any, place: str) -> Any:
        dtype = value.dtype
        if not dtype.isnative:
            words = "give array.astype(array.dtype.newbyteorder())"
            raise self._refusal(place, "an array in the machine's byte order", f"one of {dtype.str}", words)
        if dtype.name not in NUMPY:
            mends = {"O": "give array.tolist()", "M": 'give array.view("int64")', "m": 'give array.view("int64")'}
            mend = mends.get(dtype.kind, "give another type, such as float64")
            raise self._refusal(place, f"an array of {', '.join(NUMPY)}", f"one of {dtype.name}", mend)
        copy = np.array(value, order="C")
        return self._kept(copy.view(np.uint64) if dtype.name == "float64" else copy, place, "numpy", dtype.name)

    def _mlx(self, value: Any, place: str) -> Any:
        name = str(value.dtype).rpartition(".")[2].rstrip("_")
        if name not in MLX:
            raise self._refusal(
                place, f"an MLX array of {', '.join(MLX)}", f"one of {name}", "give a NumPy array of it"
            )
        # An item of an MLX array can be set later; the copy costs nothing until it is.
        return self._kept(sys.modules["mlx.core"].array(value), place, "mlx", name)

    def _kept(self, array: Any, place: str, library: str, dtype: str) -> Any:
        name = f"{self.plugin}/{place}"
        if name in self.arrays or not _PLAIN.fullmatch(place):
            name = f"{self.plugin}/#{len(self.arrays)}"
        self.arrays[name] = array
        return {"$array": [name, library, dtype]}

    def _refusal(self, place: str, expected: str, got: str, mend: str) -> CheckpointError:
        return CheckpointError(
            f"{self.label}: its state_dict() cannot be kept: {place or 'it'}: expected {expected}, got {got}; {mend}"
        )


def _decoded(value: Any, arrays: dict[str, Any], place: str) -> Any:
    if isinstance(value, list):
        return [_decoded(item, arrays, f"{place}[{at}]") for at, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    marker = next(iter(value), "")
    if len(value) != 1 or not marker.startswith("$"):
        return {key: _decoded(item, arrays, f"{place}.{key}".lstrip(".")) for key, item in value.items()}
    content = value[marker]
    try:
        if marker == "$tuple":
            return tuple(_decoded(content, arrays, place))
        if marker == "$items":
            pairs = [(_key(key), _decoded(item, arrays, f"{place}[{key}]")) for key, item in content]
            return dict(pairs)
        if marker == "$scalar":
            name, written = content
            (number,) = np.frombuffer(bytes.fromhex(written), _little(name)).astype(_known(name, NUMPY))
            return number
        if marker == "$array":
            name, library, dtype = content
            return _array(name, library, dtype, arrays)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{place or 'it'}: expected what {marker} stands for, got something else ({error})") from error
    raise ValueError(f"{place or 'it'}: expected one of $tuple, $items, $scalar and $array, got {marker[:80]!r}")


def _array(name: str, library: str, dtype: str, arrays: dict[str, Any]) -> Any:
    array = arrays.pop(name)
    stored = "uint64" if (library, dtype) == ("numpy", "float64") else dtype
    if str(array.dtype).rpartition(".")[2].rstrip("_") != stored:
        raise ValueError(f"{name} is an array of {array.dtype}")
    if library == "numpy":
        return np.array(array).view(_known(dtype, NUMPY))
    if library == "mlx" and _is_mlx(type(array)):
        return array
    raise ValueError(f"{name} is no array of {library}")


def _key(key: Any) -> str | int:
    if type(key) not in (str, int):
        raise ValueError(f"{key!r} is no key")
    return key  # type: ignore[no-any-return]  # checked just above


def _known(name: str, names: tuple[str, ...]) -> np.dtype[Any]:
    if name not in names:
        raise ValueError(f"{name!r} is no type of numbers")
    return np.dtype(name)


def _little(name: str) -> np.dtype[Any]:
    return _known(name, NUMPY).newbyteorder("<")


def _is_mlx(kind: type) -> bool:
    return kind.__module__ == "mlx.core" and kind.__name__ == "array"


def _type(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
