"""Safetensors files: every dtype and layout comes back bit for bit, and others can read them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from stepbus import CheckpointError
from stepbus.storage.tensor_files import check_tensors, hold, read_tensors, write_tensors

NAN, INF = float("nan"), float("inf")
DTYPES = (
    "bool_ uint8 uint16 uint32 uint64 int8 int16 int32 int64 float16 bfloat16 float32 complex64".split()  # noqa: SIM905 - reads better
)


def bits(array: mx.array) -> bytes:
    return memoryview(mx.contiguous(array)).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (0, 3), (5,), (2, 3), (2, 3, 4)])
def test_every_dtype_and_shape_comes_back(dtype: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    array = (mx.random.normal(shape, key=mx.random.key(0)) * 100).astype(getattr(mx, dtype))
    write_tensors(tmp_path / "x.safetensors", {"a": array})
    check_tensors(tmp_path / "x.safetensors")
    again = read_tensors(tmp_path / "x.safetensors")["a"]
    assert again.dtype == array.dtype
    assert again.shape == array.shape
    assert bits(again) == bits(array)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3, 4)])
def test_what_is_held_gives_the_same_file(dtype: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    array = (mx.random.normal(shape, key=mx.random.key(0)) * 100).astype(getattr(mx, dtype))
    arrays: dict[str, Any] = {"a": array, "turned": array.transpose(), "lazy": mx.where(array == 0, array, array)}
    if dtype != "bfloat16":
        arrays["numpy"] = np.array(array)
    held = hold({"model": arrays})["model"]
    for name, content in (("now", arrays), ("held", held)):
        write_tensors(tmp_path / f"{name}.safetensors", content)
    assert (tmp_path / "held.safetensors").read_bytes() == (tmp_path / "now.safetensors").read_bytes()
    assert sum(each.nbytes for each in held.values()) == sum(each.nbytes for each in arrays.values())


def test_what_is_held_stays_as_it_was(tmp_path: Path) -> None:
    """A hook may set items in place, or add to an array; and training lets go of the old ones, whose memory is used."""
    weight, moments = mx.arange(1_000_000).astype(mx.float32), np.arange(6.0, dtype=np.float32)
    mx.eval(weight)
    held = hold({"model": {"weight": weight}, "plugins": {"moments": moments}})
    weight[3] = -1.0
    weight += 5.0
    moments *= 0
    mx.eval(weight)
    del weight
    others = [mx.full((1_000_000,), value) for value in range(20)]
    mx.eval(others)
    for stem, arrays in held.items():
        write_tensors(tmp_path / f"{stem}.safetensors", arrays)
    np.testing.assert_array_equal(load_file(tmp_path / "model.safetensors")["weight"], np.arange(1e6, dtype=np.float32))
    np.testing.assert_array_equal(load_file(tmp_path / "plugins.safetensors")["moments"], np.arange(6.0))


def test_holding_takes_no_memory() -> None:
    arrays = {str(number): mx.full((1000, 1000), number) for number in range(10)}
    mx.eval(arrays)
    before = mx.get_active_memory()
    held = hold({"model": arrays})
    assert mx.get_active_memory() - before < 1_000_000  # of 40 MB
    assert len(held["model"]) == 10


def test_an_array_in_two_places_is_held_once() -> None:
    weight = mx.arange(6).astype(mx.float32)
    held = hold({"model": {"a": weight}, "again": {"b": weight, "c": weight + 0}})
    assert held["model"]["a"] is held["again"]["b"]
    assert held["again"]["c"] is not held["again"]["b"]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], (0, 0)),
        ([1.0, -0.0, 3.0], (0, 0)),
        ([6e4] * 300, (0, 0)),  # whose sum float16 does not hold
        ([1.0, NAN, 2.0, NAN], (2, 0)),
        ([INF, 1.0, -INF, INF], (0, 3)),
        ([-INF], (0, 1)),
        ([NAN, INF], (1, 1)),
    ],
)
def test_numbers_that_are_not_finite_are_counted(values: list[float], expected: tuple[int, int], dtype: str) -> None:
    array = mx.array(values).astype(getattr(mx, dtype)).reshape(-1, 1)
    assert hold({"": {"a": array}})[""]["a"].not_finite() == expected


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_large_numbers_are_finite_though_their_sum_is_not(dtype: str) -> None:
    array = mx.full((4,), 3e38).astype(getattr(mx, dtype))
    assert hold({"": {"a": array}})[""]["a"].not_finite() == (0, 0)


def test_integers_are_finite() -> None:
    assert hold({"": {"a": mx.arange(3), "b": mx.array(True)}})[""]["a"].not_finite() == (0, 0)


def test_another_thread_writes_what_is_held(tmp_path: Path) -> None:
    """It calls nothing of MLX, whose lazy arrays belong to the thread that made them."""
    lazy = mx.arange(100) * 2
    held = hold({"model": {"a": lazy}})["model"]
    with ThreadPoolExecutor(1) as pool:
        pool.submit(write_tensors, tmp_path / "x.safetensors", held).result()
    assert read_tensors(tmp_path / "x.safetensors")["a"].tolist() == list(range(0, 200, 2))


def test_special_numbers_come_back(tmp_path: Path) -> None:
    values = mx.array([float("nan"), float("inf"), -float("inf"), -0.0, 1e-45, 3.4e38])
    for dtype in (mx.float32, mx.bfloat16, mx.float16):
        path = tmp_path / f"{dtype}.safetensors"
        write_tensors(path, {"a": values.astype(dtype)})
        assert bits(read_tensors(path)["a"]) == bits(values.astype(dtype))


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
def test_layouts_that_are_not_contiguous(dtype: mx.Dtype, tmp_path: Path) -> None:
    base = mx.arange(24).reshape(2, 3, 4).astype(dtype)
    arrays = {
        "transposed": base.transpose(2, 0, 1),
        "sliced": base[:, ::2, 1:],
        "broadcast": mx.broadcast_to(base[0, 0], (5, 4)),
        "lazy": base * 2 + 1,
    }
    write_tensors(tmp_path / "x.safetensors", arrays)
    again = read_tensors(tmp_path / "x.safetensors")
    for name, array in arrays.items():
        assert again[name].shape == array.shape
        assert bits(again[name]) == bits(array), name


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=12).filter(lambda name: name != "__metadata__" and name.isprintable()),
        st.tuples(st.sampled_from(["float32", "float16", "uint8", "int64"]), st.lists(st.integers(0, 4), max_size=3)),
        max_size=6,
    )
)
@settings(max_examples=40, deadline=None)
def test_others_read_them(specification: dict[str, tuple[str, list[int]]]) -> None:
    import tempfile

    generator = np.random.default_rng(3)
    arrays = {name: (generator.random(shape) * 50).astype(dtype) for name, (dtype, shape) in specification.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.safetensors")
        write_tensors(path, arrays)
        check_tensors(path)
        again = load_file(path)
        assert again.keys() == arrays.keys()
        for name, array in arrays.items():
            assert again[name].dtype == array.dtype
            np.testing.assert_array_equal(again[name], array)


def test_the_bytes_depend_on_the_arrays_alone(tmp_path: Path) -> None:
    arrays = {"b": np.ones(3, np.float32), "a": np.zeros((2, 2), np.float16), "c": np.ones((), np.int64)}
    first = write_tensors(tmp_path / "1.safetensors", arrays)
    second = write_tensors(tmp_path / "2.safetensors", dict(reversed(arrays.items())))
    mine = write_tensors(tmp_path / "3.safetensors", {name: mx.array(value) for name, value in arrays.items()})
    assert first == second == mine
    save_file(arrays, tmp_path / "peer.safetensors", metadata={"format": "pt"})
    assert (tmp_path / "peer.safetensors").read_bytes() == (tmp_path / "1.safetensors").read_bytes()


def test_what_mlx_and_the_format_itself_write_is_accepted(tmp_path: Path) -> None:
    mx.save_safetensors(str(tmp_path / "mlx.safetensors"), {"a": mx.ones((2, 3), dtype=mx.bfloat16), "b": mx.array(1)})
    check_tensors(tmp_path / "mlx.safetensors")
    save_file({"a": np.ones((2, 3), np.float32)}, tmp_path / "peer.safetensors")
    check_tensors(tmp_path / "peer.safetensors")


def test_arrays_are_in_memory_once_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"a": np.arange(1000, dtype=np.float32)})
    arrays = read_tensors(path)
    path.write_bytes(bytes(path.stat().st_size))  # MLX reads lazily from the file: this would show
    path.unlink()
    np.testing.assert_array_equal(np.array(arrays["a"]), np.arange(1000, dtype=np.float32))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.zeros(2)}, "a: expected an array of .*, got float64"),
        ({"a": np.array(["x"])}, "a: expected an array of"),
        ({"": np.zeros(2, np.float32)}, "expected a tensor's name"),
        ({"__metadata__": np.zeros(2, np.float32)}, "expected a tensor's name"),
    ],
)
def test_refuses_to_write_what_would_not_come_back(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        write_tensors(tmp_path / "x.safetensors", arrays)


def test_missing_file_is_named(tmp_path: Path) -> None:
    for read in (check_tensors, read_tensors):
        with pytest.raises(CheckpointError, match=r"gone\.safetensors: cannot be read"):
            read(tmp_path / "gone.safetensors")
