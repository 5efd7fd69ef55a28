"""What plugins remember: it comes back as it was, or is refused with its path; in scripted and in real runs alike."""

from __future__ import annotations

import datetime
import decimal
import enum
import math
import uuid
from collections import Counter, OrderedDict, namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from stepbus import CheckpointError, create_trainer, hookimpl
from stepbus.storage.checkpoints import Snapshot, read_arrays, read_document, write_checkpoint
from stepbus.storage.durable import from_json, to_json
from stepbus.storage.plugin_state import MLX, NUMPY, decode_state, encode_state, frozen_state
from stepbus.testing import Recorder, assert_conforms, play


def same(one: Any, other: Any) -> bool:
    """Return whether two values are equal, of the same types all the way down, NaN included."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return (
            list(one) == list(other) and all(map(same, one, other)) and all(same(one[key], other[key]) for key in one)
        )
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, mx.array):
        plain = one.dtype == other.dtype and one.shape == other.shape
        return bool(plain and mx.array_equal(one, other, equal_nan=one.dtype not in (mx.bool_,)))
    if isinstance(one, np.ndarray | np.generic):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    return bool(one == other and str(one) == str(other)) or (one != one and other != other)


def through_a_checkpoint(state: Any, folder: Path) -> Any:
    """Return a state as a real checkpoint gives it back."""
    plain, arrays = encode_state("sample", state)
    found = write_checkpoint(folder, Snapshot(1, {"plugins": arrays}, {"state.json": plain}))
    return decode_state(read_document(found, "state.json"), read_arrays(found, "plugins"))


def numpy_arrays() -> Any:
    shapes = arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
    return st.sampled_from(NUMPY).flatmap(lambda name: arrays_of.arrays(np.dtype(name), shapes))


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters(exclude_categories=["Cs"])),
    numpy_arrays(), numpy_arrays().filter(lambda array: array.size > 0).map(lambda array: array.flat[0]),
)  # fmt: skip
KEYS = st.one_of(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), st.integers(), st.just("$tuple"))
STATES = st.dictionaries(
    KEYS,
    st.recursive(
        LEAVES,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.lists(inner, max_size=3).map(tuple),
            st.dictionaries(KEYS, inner, max_size=3),
        ),
        max_leaves=8,
    ),
    max_size=4,
)


@given(STATES)
@settings(max_examples=150, deadline=None)
def test_what_is_allowed_comes_back_equal_and_of_its_type(state: Any) -> None:
    plain, arrays = encode_state("sample", state)
    assert all(name.startswith("sample/") for name in arrays)
    # MLX reads the file: what it cannot hold must not reach it.
    read = {name: mx.array(array) for name, array in arrays.items()}
    assert all(
        str(read[name].dtype).rpartition(".")[2].rstrip("_") == array.dtype.name for name, array in arrays.items()
    )
    assert same(decode_state(from_json(to_json(plain)), read), state)
    assert not read
    assert same(frozen_state("sample", state), state)


def everything() -> dict[Any, Any]:
    """Return a state with one of each thing that is allowed."""
    whole = np.arange(24, dtype=np.float64).reshape(4, 6) / 7
    return {
        "plain": [None, True, False, 3, -(10**300), 0.1, -0.0, math.nan, math.inf, "Zürich 😀", "", [], {}, ()],
        "nested": {"by_class": {3: [whole, {"deep": (whole[::2, 1:].T, 1)}], "3": "text", -1: None}},
        "$tuple": 1,
        "a.b": np.float32(0.1), "a": {"b": np.ones(2, np.int8), "": np.ones(1)},
        "layouts": [whole[:0], np.array(0.1), np.asfortranarray(whole), np.broadcast_to(whole[0], (3, 6))],
        "types": {name: np.array([0, 1, 100]).astype(name) for name in NUMPY},
        "scalars": [np.array(1.7).astype(name)[()] for name in NUMPY],
        "mlx": {name: mx.array([0, 1, 100]).astype(getattr(mx, name if name != "bool" else "bool_")) for name in MLX},
        "mlx shapes": [mx.array(0.5), mx.zeros((0, 3)), mx.arange(6).reshape(2, 3).T],
    }  # fmt: skip


def test_a_real_checkpoint_keeps_what_a_scripted_one_keeps(tmp_path: Path) -> None:
    state = everything()
    for found in (through_a_checkpoint(state, tmp_path), frozen_state("sample", state)):
        for key, value in state.items():
            assert same(found[key], value), key
        assert list(found) == list(state)


def test_what_comes_back_is_nobody_elses() -> None:
    state: dict[str, Any] = {"sums": [np.zeros(2)], "mlx": mx.zeros(2), "list": [1]}
    plain, arrays = encode_state("sample", state)
    state["sums"][0] += 1
    state["mlx"][0] = 1
    state["list"].append(2)
    found = decode_state(plain, arrays)
    assert (found["sums"][0].tolist(), found["mlx"].tolist(), found["list"]) == ([0, 0], [0, 0], [1])
    found["sums"][0] += 5  # it can be gone on with
    assert state["sums"][0].tolist() == [1, 1]


class Colour(enum.IntEnum):
    RED = 1


class Masked(np.ndarray):  # type: ignore[type-arg]
    pass


Pair = namedtuple("Pair", "a b")
ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)
DEEP: list[Any] = []
for _ in range(3000):
    DEEP = [DEEP]
REFUSED: dict[str, tuple[Any, str]] = {
    "set": ({1}, "got set; give sorted"),
    "frozenset": (frozenset({1}), "got frozenset; give sorted"),
    "date": (datetime.date(2026, 1, 1), r"got datetime.date; give its isoformat\(\)"),
    "datetime": (datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), r"got datetime.datetime; give its isoformat\(\)"),
    "path": (Path("x"), r"got pathlib.*Path; give str\(…\)"),
    "bytes": (b"x", r"got bytes; give its hex\(\)"),
    "decimal": (decimal.Decimal("0.1"), r"got decimal.Decimal; give str"),
    "uuid": (uuid.UUID(int=1), "got uuid.UUID; give str"),
    "enum": (Colour.RED, "got .*Colour; give its value"),
    "complex": (1j, "got complex; give what it is made of"),
    "object": (object(), "got object; give what it is made of, and make it again in load_state_dict"),
    "function": (print, "got builtin_function_or_method; give"),
    "counter": (Counter("aa"), r"got collections.Counter; give dict\(…\)"),
    "ordered": (OrderedDict(a=1), r"got collections.OrderedDict; give dict\(…\)"),
    "named tuple": (Pair(1, 2), r"got .*Pair; give tuple\(…\)"),
    "str of NumPy": (np.str_("x"), r"got numpy.str_; give str\(…\)"),
    "date of NumPy": (np.datetime64("2026-01-01"), "got numpy.datetime64; give"),
    "half a character": ("a\ud800", r"expected text of whole characters, got half of one \(a surrogate\); give text"),
    "endless digits": (10**400, "expected an int of at most 308 digits, got a longer one"),
    "objects": (np.array([None]), r"got one of object; give array.tolist\(\)"),
    "words": (np.array(["a"]), "got one of str32; give another type"),
    "dates": (np.array(["2026-01-01"], "datetime64[D]"), r'got one of datetime64\[D\]; give array.view\("int64"\)'),
    "big-endian": (np.array([1.0], ">f8"), r"machine's byte order, got one of >f8; give array.astype"),
    "double complex": (np.zeros(1, np.complex128), "got one of complex128; give another type"),
    "long double": (np.zeros(1, np.longdouble), "got one of (float128|float96|longdouble); give another type"),
    "records": (np.zeros(1, "i4,f4"), "got one of void64; give another type"),
    "subclass": (np.zeros(1).view(Masked), "got .*Masked; give"),
    "masked": (np.ma.zeros(1), "got numpy.ma.*MaskedArray; give"),
    "MLX's double": ("float64 of MLX", "expected an MLX array of bool, .*, got one of float64; give a NumPy array"),
    "endless": (ENDLESS, "expected at most 50 values within one another, got more, or one within itself; flatten it"),
    "deep": (DEEP, "expected at most 50 values within one another"),
}  # fmt: skip


def refused(name: str) -> tuple[Any, str]:
    value, words = REFUSED[name]
    return (mx.zeros(1, dtype=mx.float64) if name == "MLX's double" else value), words


class Remembers:
    """Remember whatever it is given."""

    value: Any = None

    @hookimpl
    def on_step_end(self) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        return {"kept": {"by_class": [0, self.value]}}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.value = saved["kept"]["by_class"][1]


def holding(value: Any) -> type:
    return type("Remembers", (Remembers,), {"value": value, "__module__": __name__})


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_allowed_is_refused_with_its_path_in_conformance_and_in_runs(name: str, tmp_path: Path) -> None:
    value, words = refused(name)
    place = r"kept\.by_class\[1\]"
    sentence = rf"remembers: its state_dict\(\) cannot be kept: {place}.*: .*{words}"
    with pytest.raises(CheckpointError, match=rf"^{sentence}") as caught:
        play(holding(value), interrupt_at=3)
    assert len(str(caught.value)) < 500
    with pytest.raises(AssertionError, match=rf'breaks the rule "needs no pickle": {sentence}'):
        assert_conforms(holding(value))
    with pytest.raises(CheckpointError, match=rf"^{sentence}"):
        through_a_checkpoint_of("remembers", {"kept": {"by_class": [0, value]}}, tmp_path)


def through_a_checkpoint_of(name: str, state: Any, folder: Path) -> None:
    plain, arrays = encode_state(name, state)
    write_checkpoint(folder, Snapshot(1, {"plugins": arrays}, {"state.json": plain}))


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({None: 1}, "it: expected keys of type str or int, got NoneType as a key; give a list of pairs"),
        ({"a": {True: 1}}, "a: expected keys of type str or int, got bool as a key"),
        ({"a": {(1, 2): 1}}, "a: expected keys of type str or int, got tuple as a key"),
        ({"a": {1.5: 1}}, "a: expected keys of type str or int, got float as a key"),
        ({"a": {np.int64(1): 1}}, "a: expected keys of type str or int, got numpy.int64 as a key"),
        ({"a": {"\udfff": 1}}, "a key of a: expected text of whole characters"),
        ([1], "expected a dict, got list"),
        (None, "expected a dict, got NoneType"),
        (Counter("a"), "expected a dict, got collections.Counter"),
    ],
)
def test_odd_keys_and_odd_states_are_refused(state: Any, words: str) -> None:
    with pytest.raises(CheckpointError, match=rf"^odd: its state_dict\(\) cannot be kept: {words}"):
        encode_state("odd", state)


@pytest.mark.parametrize(
    ("plain", "words"),
    [
        ({"a": {"$tuple": 3}}, r"a: expected what \$tuple stands for"),
        (
            {"a": [{"$items": [[None, 1]]}]},
            r"a\[0\]: expected what \$items stands for, got something else \(None is no",
        ),
        ({"a": {"$items": {"x": 1}}}, r"a: expected what \$items stands for"),
        ({"a": {"$scalar": ["float32", "00"]}}, r"a: expected what \$scalar stands for"),
        ({"a": {"$scalar": ["O", "00"]}}, r"a: expected what \$scalar stands for, .*'O' is no type of numbers"),
        ({"a": {"$array": ["absent", "numpy", "int8"]}}, r"a: expected what \$array stands for"),
        (
            {"a": {"$array": ["x", "numpy", "float64"]}},
            r"a: expected what \$array stands for, .* x is an array of int8",
        ),
        ({"a": {"$array": ["x", "mlx", "int8"]}}, r"a: expected what \$array stands for, .* x is no array of mlx"),
        ({"a": {"$array": [[], "mlx", "int8"]}}, r"a: expected what \$array stands for"),
        ({"a": {"$other": 1}}, r"a: expected one of \$tuple, \$items, \$scalar and \$array, got '\$other'"),
        ({"a": [{"$array": ["x", "numpy", "int8"]}] * 2}, r"a\[1\]: expected what \$array stands for"),
    ],
)
def test_what_is_no_state_is_refused_by_its_path(plain: Any, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}".replace(", .* x", ", .*x")):
        decode_state(plain, {"x": np.zeros(2, np.int8)})


class Sums:
    """Add up in double precision, by class."""

    def __init__(self) -> None:
        self.sums: dict[int, Any] = {0: np.zeros(2), 1: [np.float64(0)]}

    @hookimpl
    def on_step_end(self, step: Any) -> None:
        self.sums[0] += step.loss / 3
        self.sums[1][0] += step.loss / 7

    def state_dict(self) -> dict[str, Any]:
        return {"sums": self.sums}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.sums = saved["sums"]


def test_double_precision_nested_by_class_conforms_and_resumes_to_the_same_bits(
    tiny_config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    assert_conforms(Sums)

    class Falls:
        falls = True

        @hookimpl
        def on_step_end(self, state: Any) -> None:
            if state.step == 13 and self.falls:
                raise KeyError("the lights went out")

    def trained(folder: str, *plugins: Any, resume: bool = False) -> dict[int, Any]:
        heard, tree = Recorder(), tiny_config(environment={"output_dir": str(tmp_path / folder)})
        create_trainer(config=tree, plugins=[*plugins, heard]).train(resume=resume)
        (session,) = [given["trainer"] for given in heard.of("on_fit_end")]
        sums: dict[int, Any] = next(m.plugin.sums for m in session.bus.members if m.name == "sums")
        return sums

    whole = trained("whole", Sums, Falls) if not setattr(Falls, "falls", False) else {}
    Falls.falls = True
    with pytest.raises(Exception, match="the lights went out"):
        trained("cut", Sums, Falls)
    Falls.falls = False
    assert same(trained("cut", Sums, Falls, resume=True), whole)
    assert whole[0].dtype == np.float64
