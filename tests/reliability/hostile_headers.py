"""Hostile safetensors files by number; run as a script, so that a crash of the process is seen.

python hostile_headers.py FIRST LAST FOLDER    one line of JSON for each file, before the next one is touched
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

SEED = 20240607
SIZES = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "U8": 1, "BOOL": 1}
NUMPY = {"F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1", "BOOL": "?"}
HUGE = (2**31 - 1, 2**31, 2**32, 2**32 + 1, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 2**64 + 1, 10**30)
ODD = (None, True, False, -1, -(2**63), 0.5, 1e300, "4", "", [], [4], {}, {"a": 1}, "F32", "\x00", "../../etc/passwd")
OTHER_DTYPES = (
    "F64", "F8_E4M3", "F8_E5M2", "F4", "F6_E2M3", "C64", "f32", "F32 ", "float32", "F31", "", "BFLOAT16", "I128", "O",
)  # fmt: skip
Header = dict[str, Any]
Draw = random.Random


def good(draw: Draw) -> tuple[Header, bytes]:
    """Return a header that describes its bytes exactly."""
    header: Header = {"__metadata__": {"format": "pt"}} if draw.random() < 0.5 else {}
    start = 0
    for index in range(draw.randint(1, 4)):
        dtype = draw.choice(list(SIZES))
        shape = [draw.randint(1, 5) for _ in range(draw.randint(0, 3))]
        count = 1
        for side in shape:
            count *= side
        end = start + count * SIZES[dtype]
        header[f"layer.{index}.weight"] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
        start = end
    return header, bytes(draw.randrange(2) for _ in range(start))


def entry_of(header: Header, draw: Draw) -> dict[str, Any]:
    found: dict[str, Any] = header[draw.choice([name for name in header if name != "__metadata__"])]
    return found


def packed(words: bytes, data: bytes, length: int | None = None) -> bytes:
    return (len(words) if length is None else length).to_bytes(8, "little") + words + data


def written(header: Any, data: bytes) -> bytes:
    return packed(json.dumps(header).encode(), data)


def in_header(change: Callable[[Header, Draw], Any]) -> Callable[[Header, bytes, Draw], bytes]:
    def make(header: Header, data: bytes, draw: Draw) -> bytes:
        change(header, draw)
        return written(header, data)

    return make


def in_words(change: Callable[[bytes, Draw], bytes]) -> Callable[[Header, bytes, Draw], bytes]:
    return lambda header, data, draw: packed(change(json.dumps(header).encode(), draw), data)


def wrong_length(header: Header, data: bytes, draw: Draw) -> bytes:
    words = json.dumps(header).encode()
    lengths = (0, 1, 2, len(words) - 1, len(words) + 1, len(words) + len(data) + 1, 16 * 2**20 + 1, 2**31, 2**32 - 1)
    return packed(words, data, draw.choice((*lengths, 2**63 - 1, 2**63, 2**64 - 1, draw.randrange(2**64))))


def cut(header: Header, data: bytes, draw: Draw) -> bytes:
    content = written(header, data)
    return content[: draw.randrange(len(content))]


def more(header: Header, data: bytes, draw: Draw) -> bytes:
    return written(header, data + bytes(draw.randint(1, 64)))


def shifted(header: Header, draw: Draw) -> None:
    entry = entry_of(header, draw)
    by = draw.choice((-8, -4, -1, 1, 4, 8))
    entry["data_offsets"] = [entry["data_offsets"][0] + by, entry["data_offsets"][1] + by]


def one_end(header: Header, draw: Draw) -> None:
    entry_of(header, draw)["data_offsets"][draw.randrange(2)] += draw.choice((-4, -1, 1, 4, *HUGE))


def overlap(header: Header, draw: Draw) -> None:
    entry = entry_of(header, draw)
    header["layer.x"] = {**entry, "shape": list(entry["shape"]), "data_offsets": list(entry["data_offsets"])}


def huge_shape(header: Header, draw: Draw) -> None:
    entry = entry_of(header, draw)
    entry["shape"] = [draw.choice(HUGE) for _ in range(draw.randint(1, 4))]
    if draw.random() < 0.5:
        entry["shape"][draw.randrange(len(entry["shape"]))] = 0


def overflowing(header: Header, draw: Draw) -> None:
    """Give sides whose product is the right one modulo 2**64."""
    entry = entry_of(header, draw)
    count = 1
    for side in entry["shape"]:
        count *= side
    half = 2 ** draw.choice((31, 32, 33))
    entry["shape"] = draw.choice(([2**64 + count], [half, 2**64 // half + 1, count], [2**63, 2, count], [-1, -count]))


def many_sides(header: Header, draw: Draw) -> None:
    """Give as many sides of 1 as a reader might not have room for: it stays true to the bytes."""
    entry_of(header, draw)["shape"] += [1] * draw.choice((9, 33, 65, 1000, 50_000))


def any_value(header: Header, draw: Draw) -> None:
    entry_of(header, draw)[draw.choice(("dtype", "shape", "data_offsets"))] = draw.choice((*ODD, *HUGE))


def any_item(header: Header, draw: Draw) -> None:
    items = entry_of(header, draw)[draw.choice(("shape", "data_offsets"))]
    place = draw.randint(0, len(items))
    items[place : place + draw.randint(0, 1)] = [draw.choice((*ODD, *HUGE))]


def lost_key(header: Header, draw: Draw) -> None:
    del entry_of(header, draw)[draw.choice(("dtype", "shape", "data_offsets"))]


def extra_key(header: Header, draw: Draw) -> None:
    entry_of(header, draw)[draw.choice(("offset", "strides", "requires_grad", ""))] = draw.choice(ODD)


def strange_entry(header: Header, draw: Draw) -> None:
    header[draw.choice(("x", "", "\x00", "a/b", "../x", "ключ", "x" * 5000))] = draw.choice(ODD)


def strange_metadata(header: Header, draw: Draw) -> None:
    header["__metadata__"] = draw.choice(
        (*ODD, {"format": 3}, {"format": {"a": []}}, {"format": None}, {"x": "y" * 9999})
    )


def other_dtype(header: Header, draw: Draw) -> None:
    entry_of(header, draw)["dtype"] = draw.choice(OTHER_DTYPES)


def swapped(header: Header, draw: Draw) -> None:
    one, other = entry_of(header, draw), entry_of(header, draw)
    one["data_offsets"], other["data_offsets"] = other["data_offsets"], one["data_offsets"]


def backwards(header: Header, draw: Draw) -> None:
    entry_of(header, draw)["data_offsets"].reverse()


def twice(words: bytes, draw: Draw) -> bytes:
    return words[:-1] + b", " + words[1:] if draw.random() < 0.5 else words[:-1] + b', "x": 1, "x": 1}'


def deep(words: bytes, draw: Draw) -> bytes:
    depth, (left, right) = draw.choice((100, 1_000, 100_000)), draw.choice(((b"[", b"]"), (b'{"a":', b"}")))
    return words[:-1] + b', "deep": ' + left * depth + (b"1" if left == b'{"a":' else b"") + right * depth + b"}"


def not_text(words: bytes, draw: Draw) -> bytes:
    place = draw.randrange(len(words))
    return (
        words[:place]
        + draw.choice((b"\xff", b"\xc3", b"\x80", b"\x00", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80"))
        + words[place:]
    )


def not_a_number(words: bytes, draw: Draw) -> bytes:
    return words.replace(
        b"[", b"[" + draw.choice((b"NaN", b"Infinity", b"-Infinity", b"1e999", b"0x10", b"1.", b"+1")) + b",", 1
    )


def flipped(words: bytes, draw: Draw) -> bytes:
    content = bytearray(words)
    for _ in range(draw.randint(1, 4)):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(content)


def other_json(words: bytes, draw: Draw) -> bytes:
    other = (
        b"[]",
        b"null",
        b"12",
        b'"x"',
        b"{",
        b"}",
        b"{}x",
        b"",
        b" ",
        b"\xef\xbb\xbf" + words,
        words + words,
        b"\x80\x04K\x01.",
    )
    return draw.choice(other)


def padded(words: bytes, draw: Draw) -> bytes:
    return draw.choice((b" ", b"\n", b"\t")) * draw.randint(0, 9) + words + b" " * draw.randint(0, 99)


KINDS: dict[str, Callable[[Header, bytes, Draw], bytes]] = {
    "untouched": lambda header, data, draw: written(header, data),
    "wrong length": wrong_length,
    "cut": cut,
    "bytes behind": more,
    **{
        change.__name__.replace("_", " "): in_header(change)
        for change in (
            shifted, one_end, overlap, huge_shape, overflowing, many_sides, any_value, any_item, lost_key, extra_key,
            strange_entry, strange_metadata, other_dtype, swapped, backwards,
        )
    },
    **{
        change.__name__.replace("_", " "): in_words(change)
        for change in (twice, deep, not_text, not_a_number, flipped, other_json, padded)
    },
}  # fmt: skip


def case(number: int) -> tuple[str, bytes]:
    """Return the kind and the bytes of a file, the same for a number in every process."""
    draw = random.Random(f"{SEED} {number}")
    kind = list(KINDS)[number % len(KINDS)]
    header, data = good(draw)
    return kind, KINDS[kind](header, data, draw)


def same_as_described(path: Path, content: bytes) -> None:
    """Hold what is read against the bytes that the header names, read by other means."""
    from stepbus.storage.tensor_files import read_tensors

    arrays = read_tensors(path)
    import mlx.core as mx
    import numpy as np

    length = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    header.pop("__metadata__", None)
    assert set(arrays) == set(header), (set(arrays), set(header))
    covered = 0
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        covered += end - start
        array = arrays[name]
        assert list(array.shape) == entry["shape"], (array.shape, entry["shape"])
        assert array.nbytes == end - start
        if entry["dtype"] in NUMPY:
            wanted = np.frombuffer(data[start:end], NUMPY[entry["dtype"]])
            assert np.array(array.reshape(-1)).tobytes() == wanted.tobytes(), name
        else:
            assert array.dtype == mx.bfloat16
    assert covered == len(data)


def main(first: int, last: int, folder: Path) -> None:
    from stepbus.base.errors import CheckpointError
    from stepbus.storage.tensor_files import check_tensors

    for number in range(first, last):
        kind, content = case(number)
        path = folder / f"{number}.safetensors"
        path.write_bytes(content)
        print(json.dumps({"number": number, "kind": kind}), flush=True)
        result: dict[str, Any] = {"number": number, "kind": kind}
        try:
            check_tensors(path)
        except CheckpointError as error:
            result["refused"] = str(error)
        else:
            same_as_described(path, content)
        print(json.dumps(result | {"done": True}), flush=True)
        path.unlink()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
