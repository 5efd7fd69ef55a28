"""Checkpoints that lack one thing, sealed as if it had never been there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
from attrs import asdict

from stepbus.storage import from_json, sealed, to_json, write_file, write_tensors

Arrays = dict[str, Any]


def newest(run: Path) -> Path:
    """Return the newest checkpoint of a run's latest fit."""
    fits = [fit for fit in sorted((run / "fits").iterdir()) if any((fit / "checkpoints").glob("step-*"))]
    return max((fits[-1] / "checkpoints").glob("step-*"))


def in_document(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """Return what changes state.json of a checkpoint.

    Args:
        change: Changes the document in place.
    """

    def apply(checkpoint: Path) -> None:
        document = from_json((checkpoint / "state.json").read_bytes())
        before = json.dumps(document)
        change(document)
        assert json.dumps(document) != before, "there was nothing to leave out"
        _replace(checkpoint, "state.json", lambda path: write_file(path, [to_json(document).encode()]))

    return apply


def in_arrays(stem: str, change: Callable[[str, Any], Any]) -> Callable[[Path], None]:
    """Return what changes arrays of a checkpoint.

    Args:
        stem: The file.
        change: (name, array) -> what stands in its place, or None to leave it as it is.
    """

    def apply(checkpoint: Path) -> None:
        arrays: Arrays = dict(mx.load(str(checkpoint / f"{stem}.safetensors")))
        changed = {name: new for name, array in arrays.items() if (new := change(name, array)) is not None}
        assert any(not mx.array_equal(arrays[name], new) for name, new in changed.items()), "nothing was left out"
        arrays |= {name: new.astype(arrays[name].dtype) for name, new in changed.items()}
        mx.eval(arrays)
        _replace(checkpoint, f"{stem}.safetensors", lambda path: write_tensors(path, arrays))

    return apply


def weights_of_the_moment(checkpoint: Path) -> None:
    """Put the weights of the checkpoint's own step where the best ones lie."""
    arrays: Arrays = dict(mx.load(str(checkpoint / "model.safetensors")))
    mx.eval(arrays)
    _replace(checkpoint, "best.safetensors", lambda path: write_tensors(path, arrays))


def _replace(checkpoint: Path, name: str, write: Callable[[Path], Any]) -> None:
    (checkpoint / name).unlink()  # which is a link to the file of the whole run
    written = write(checkpoint / name)
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    del manifest["digest"]
    assert name in manifest["files"]
    manifest["files"][name] = asdict(written)
    (checkpoint / "manifest.json").unlink()
    write_file(checkpoint / "manifest.json", [to_json(sealed(manifest)).encode()])
