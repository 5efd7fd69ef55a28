"""Safetensors files: written durably and hashed on the way, checked before use, read in full.

The format is that of https://github.com/huggingface/safetensors: eight bytes of header length, a JSON header that
places each tensor, and the tensors' bytes without a hole. MLX's own writer neither syncs nor refuses a hostile file.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen

from stepbus.base import CheckpointError, open_file
from stepbus.storage.durable import Written, write_file

if TYPE_CHECKING:
    import mlx.core as mx


MAX_HEADER = 16 * 2**20
# Name of an array's dtype, MLX's or NumPy's -> the format's. Only what MLX reads back as the same dtype.
DTYPES = {
    "bool": "BOOL",
    "bool_": "BOOL",
    "uint8": "U8",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "int8": "I8",
    "int16": "I16",
    "int32": "I32",
    "int64": "I64",
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "complex64": "C64",
}


@frozen(eq=False)
class HeldArray:
    """What an array held at a moment, for a thread that must not call MLX.

    Args:
        dtype: The name of its kind of numbers, MLX's or NumPy's.
        shape: Its shape.
        itemsize: Bytes of a number.
        content: Its numbers in row-major order; nobody writes to them.
    """

    dtype: str
    shape: tuple[int, ...]
    itemsize: int
    content: memoryview

    @property
    def nbytes(self) -> int:
        """Bytes of all numbers."""
        return self.content.nbytes

    @property
    def data(self) -> memoryview:
        """Its bytes."""
        # NumPy takes the bytes of formats that memoryview cannot cast, such as MLX's bfloat16.
        return np.frombuffer(self.content, np.uint8).data if self.nbytes else memoryview(b"")

    def not_finite(self) -> tuple[int, int]:
        """Return how many numbers are NaN, and how many are infinite; of integers, none."""
        kind = self.dtype.rpartition(".")[2]
        if not self.nbytes or kind not in ("float32", "float16", "bfloat16"):
            return 0, 0
        if kind == "bfloat16":  # which NumPy lacks: the upper half of a float32
            numbers = (np.frombuffer(self.data, np.uint16).astype(np.uint32) << 16).view(np.float32)
        else:
            numbers = np.frombuffer(self.data, kind)
        with np.errstate(all="ignore"):
            if np.isfinite(numbers.sum(dtype=np.float32)):  # one that is not makes the sum so
                return 0, 0
        return int(np.isnan(numbers).sum()), int(np.isinf(numbers).sum())


def hold(stems: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, HeldArray]]:
    """Return what arrays hold now, whatever is done to them afterwards; MLX's share their memory, NumPy's are copied.

    Call it where MLX may be called; what it returns may be read and dropped in any thread. An array that stands in two
    places is held once.

    Args:
        stems: File stem -> name -> array.
    """
    found = {id(array): array for arrays in stems.values() for array in arrays.values()}
    own = [place for place, array in found.items() if _is_mlx(array)]
    if own:
        import mlx.core as mx

        # An item of an array can be set in place: another array over the same memory stays as it is.
        found |= {place: mx.contiguous(found[place]) for place in own}
        mx.eval([found[place] for place in own])
    names: dict[Any, str] = {}  # of a few kinds, which MLX takes its time to say
    held = {}
    for place, array in found.items():
        dtype = array.dtype
        if dtype not in names:
            names[dtype] = str(dtype)
        content = memoryview(array) if _is_mlx(array) else np.array(array, order="C").data
        held[place] = HeldArray(names[dtype], tuple(array.shape), array.itemsize, content)
    return {stem: {name: held[id(array)] for name, array in arrays.items()} for stem, arrays in stems.items()}


def _is_mlx(array: Any) -> bool:
    return type(array).__module__ == "mlx.core"


def write_tensors(path: Path, arrays: Mapping[str, Any], *, let_go: Callable[[str], object] | None = None) -> Written:
    """Write arrays to a new file and bring it to the disk.

    Args:
        path: A name that does not exist yet, ending in .safetensors.
        arrays: MLX or NumPy arrays of any shape by name, or what `hold` made of them; the same arrays give the same
            bytes.
        let_go: Called with the name of each array whose bytes the file has, which is not asked for again.

    Returns:
        Size and digest of the file.

    Raises:
        OSError: The file system refuses.
        ValueError: A dtype that MLX would not read back as it was.
    """
    # Wide items first keeps every tensor aligned, as the format's own writer does.
    names = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    # transformers opens a file only if its metadata names a framework it knows.
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        array = arrays[name]
        dtype = DTYPES.get(str(array.dtype).rpartition(".")[2])
        if dtype is None:
            raise ValueError(f"{name}: expected an array of {', '.join(sorted(set(DTYPES)))}, got {array.dtype}")
        if not name or name == "__metadata__":
            raise ValueError(f"expected a tensor's name, got {name!r}")
        start, end = end, end + array.nbytes
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [start, end]}
    words = json.dumps(header, separators=(",", ":")).encode()
    words += b" " * (-len(words) % 8)
    if len(words) > MAX_HEADER:
        raise ValueError(f"expected a header of at most {MAX_HEADER} bytes, got {len(words)}: too many tensors")

    def blocks() -> Iterator[bytes | memoryview]:
        yield len(words).to_bytes(8, "little") + words
        for name in names:
            yield _bytes_of(arrays[name])
            if let_go is not None:
                let_go(name)

    return write_file(path, blocks())


def as_bytes(arrays: Mapping[str, Any]) -> bytes:
    """Return what `write_tensors` writes of arrays."""
    with tempfile.TemporaryDirectory(prefix="stepbus-") as folder:
        path = Path(folder, "arrays.safetensors")
        write_tensors(path, arrays)
        return path.read_bytes()


def _bytes_of(array: Any) -> bytes | memoryview:
    """Return an array's bytes in row-major order, without a copy where it lies so already."""
    if isinstance(array, HeldArray):
        return array.data
    view = memoryview(array)
    if not view.nbytes:
        return b""
    # NumPy takes the bytes of formats that memoryview cannot cast, such as MLX's bfloat16.
    return np.frombuffer(view, np.uint8).data if view.c_contiguous else view.tobytes()


def check_tensors(path: Path) -> None:
    """Refuse a file whose header does not describe exactly the bytes that follow it.

    Raises:
        CheckpointError: The file cannot be read, is no plain file, or its header is too large, malformed, repeats a
            name, leaves a hole, overlaps, or ends elsewhere than the file.
    """
    try:
        with os.fdopen(open_file(path, CheckpointError, links=False), "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            room = os.fstat(file.fileno()).st_size - 8
            if not 2 <= length <= min(MAX_HEADER, room):
                most = max(min(MAX_HEADER, room), 0)
                raise CheckpointError(
                    f"{path}: expected a header of 2 to {most} bytes, got {length}; it is no safetensors file"
                )
            words = file.read(length)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    _check_header(path, words)
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np"):  # compares offsets, shapes and the file's length
            pass
    except SafetensorError as error:
        raise CheckpointError(f"{path}: expected a whole safetensors file, got a damaged one ({error})") from error


def _check_header(path: Path, words: bytes) -> None:
    """Check what the format's own package lets pass: repeated names, and dtypes that MLX does not keep."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a name stands twice")
        return found

    try:
        header = json.loads(words.decode(), object_pairs_hook=once)
        if not isinstance(header, dict):
            raise ValueError("it is no mapping")
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: expected a JSON header, got a malformed one ({error})") from error
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        dtype = entry.get("dtype") if isinstance(entry, dict) else None
        if dtype not in DTYPES.values():
            raise CheckpointError(f"{path}: {name[:80]}: expected a dtype that MLX reads, got {str(dtype)[:80]!r}")


def read_tensors(path: Path) -> dict[str, mx.array]:
    """Return every array of a file, in memory: the file may be replaced afterwards.

    Args:
        path: A file that `check_tensors` let pass.

    Raises:
        CheckpointError: The file cannot be read.
    """
    from stepbus.device import backend  # noqa: F401  # puts the fast BLAS in front of MLX

    # isort: split
    import mlx.core as mx

    try:
        arrays = mx.load(str(path))
        mx.eval(arrays)  # mx.load only opens the file
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from error
    if not isinstance(arrays, dict):
        raise CheckpointError(f"{path}: expected named arrays, got {type(arrays).__name__}")
    return arrays
