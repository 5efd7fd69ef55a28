"""How much memory a fit will take, estimated from shapes alone: no weight is read and no array is filled."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from stepbus.base import CheckpointError, ModelError, PluginError, read_json, unusable
from stepbus.compute import INDEX, MAX_INDEX, WEIGHTS
from stepbus.storage import tensor_files

if TYPE_CHECKING:
    from stepbus.compute import Optimizer
    from stepbus.text.batches import Bucket

Shapes = dict[str, tuple[int, ...]]

# Arrays that backpropagation keeps in each layer: of a token's width, of the inner width, and of heads x tokens². They
# were counted in the layers, and then compared with the peak of MLX on CPU (2 to 16 layers, 1 to 32 rows of 8 to 256
# tokens, width 256 to 512): the estimate was within a fifth of it. GPUs were not at hand.
KEPT_WIDTH, KEPT_INNER, KEPT_SQUARES = 10, 2, 2
# In bfloat16 other kernels run, which keep more arrays of half the size.
BYTES_KEPT = {"float32": 4, "bfloat16": 3}
# What a file that was written here holds beside the encoder; pooling and head are counted as they are built.
NOT_ENCODER = ("pooling", "classifier")


@frozen
class Estimate:
    """The memory of a fit, in bytes.

    Args:
        parameters: Numbers that are trained; a count, not bytes.
        weights: All of the model's, in float32.
        optimizer: The optimizer's state, and averages of the weights that a plugin keeps.
        gradients: One gradient of each weight that is trained; two with accumulation.
        kept: What the largest batch keeps for backpropagation.
        update: New weights and new state beside the old ones, while an update is made.
        best: The best weights, where they are kept.
        first: Weights and state of the first fit, which stay while the others run.
        peak: The most that lives at one time.
    """

    parameters: int
    weights: int
    optimizer: int
    gradients: int
    kept: int
    update: int
    best: int
    first: int
    peak: int


def estimate(
    shapes: Shapes,
    *,
    optimizer: int,
    trained: Shapes | None = None,
    kept: int,
    fits: int = 1,
    accumulates: bool = False,
    keeps_best: bool = False,
    averages: bool = False,
    precision: str = "float32",
) -> Estimate:
    """Put an estimate together; gradients and what a batch keeps are gone when the update makes its copies.

    Args:
        shapes: Shape of each parameter.
        optimizer: Bytes of the optimizer's state.
        trained: Shape of each parameter that is trained; None: all of them.
        kept: Bytes that the largest batch keeps.
        fits: How many fits there are.
        accumulates: Whether gradients of several batches are added.
        keeps_best: Whether a plugin may ask for the best weights.
        averages: Whether a plugin keeps an average of each weight.
        precision: The number format of the computation.
    """
    parameters = sum(math.prod(shape) for shape in (shapes if trained is None else trained).values())
    weights, changing = 4 * sum(math.prod(shape) for shape in shapes.values()), 4 * parameters
    optimizer += changing if averages else 0
    sums = changing if accumulates else 0
    cast = 0 if precision == "float32" else weights // 2
    update, best, first = changing + optimizer, weights if keeps_best else 0, weights + optimizer if fits > 1 else 0
    peak = weights + optimizer + best + first + sums + max(update, changing + cast + kept)
    return Estimate(parameters, weights, optimizer, changing + sums, kept, update, best, first, peak)


def check_room(parameters: int, source: str) -> None:
    """Refuse a model whose weights alone, in float32, are more than the machine's memory.

    Args:
        parameters: How many numbers it has.
        source: The setting or file that makes it so large.

    Raises:
        ModelError: It does not fit.

    Example:
        >>> check_room(22_700_000, "model.size")  # 91 MB of weights: nothing to say
    """
    from stepbus.device import backend

    machine = backend.describe_machine()["memory"]
    if machine is not None and 4 * parameters > machine:
        raise ModelError(
            f"{source}: expected a model that fits into {machine / 2**30:,.1f} GiB of memory, got one of "
            f"{float(parameters):.3g} parameters, whose weights alone take {4 * parameters / 2**30:,.1f} GiB; "
            "set a smaller size"
        )


def kept_by(bucket: Bucket, config: Mapping[str, Any], precision: str) -> int:
    """Return the bytes that a batch keeps for backpropagation in an encoder.

    Args:
        bucket: The shape of the batch.
        config: The model's config.json, with the keys that Hugging Face's encoders share.
        precision: The number format of the computation.

    Raises:
        KeyError: A size is missing in `config`.
    """
    width, layers, heads = config["hidden_size"], config["num_hidden_layers"], config["num_attention_heads"]
    inner = config.get("intermediate_size", 4 * width)
    tokens = bucket.rows * bucket.length
    one = tokens * (KEPT_WIDTH * width + KEPT_INNER * inner) + KEPT_SQUARES * tokens * heads * bucket.length
    return int(layers * one * BYTES_KEPT.get(precision, 4))


def state_sizes(optimizer: Optimizer, shapes: Shapes) -> dict[str, int]:
    """Return the bytes of each array of an optimizer's state; MLX's arrays are lazy, so that nothing is allocated.

    Args:
        optimizer: Any optimizer.
        shapes: Shape of each parameter.
    """
    import mlx.core as mx

    found: dict[str, int] = {}
    for name, shape in shapes.items():
        parameter = mx.zeros(shape)
        state = optimizer.for_parameter(name, parameter).init(parameter)
        found |= {f"parameters.{name}.{part}": array.nbytes for part, array in state.items()}
    return found


def as_shapes(said: Any, name: str) -> Shapes:
    """Return the shapes that a model component says of its encoder, having looked at them.

    Args:
        said: What its `shapes` returned.
        name: The component.

    Raises:
        PluginError: It is no mapping of names to tuples of sizes.
    """
    if isinstance(said, Mapping) and all(
        isinstance(path, str) and isinstance(shape, tuple) and all(type(size) is int and size >= 0 for size in shape)
        for path, shape in said.items()
    ):
        return dict(said)
    raise PluginError(
        f"model {name}: shapes: expected a mapping of parameter names to tuples of sizes, got {said!r:.80}"
    )


def file_shapes(folder: Path, beside: Collection[str] = ()) -> Shapes:
    """Return the shapes of an encoder's tensors, read from the heads of its files and not from their bodies.

    Args:
        folder: A model folder, as `find_folder` returned it.
        beside: What files of this kind hold beside the encoder, by the first or second part of a tensor's name.

    Raises:
        ModelError: A file's head does not describe the file.

    Example:
        >>> file_shapes(find_folder("runs/model"))["bert.embeddings.word_embeddings.weight"]
        (21, 16)
    """
    from safetensors import safe_open

    shapes: Shapes = {}
    others = {*NOT_ENCODER, *beside}
    for path in _weight_files(folder):
        try:
            tensor_files.check_tensors(path.resolve())
        except CheckpointError as error:
            raise ModelError(str(error)) from error
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118 - the file is no mapping
                part = file.get_slice(name)
                if part.get_dtype() in ("F32", "F16", "BF16") and not others & set(name.split(".")[:2]):
                    shapes[name] = tuple(part.get_shape())
    return shapes


def _weight_files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS).is_file() or not (folder / INDEX).is_file():
        return [folder / WEIGHTS]
    index = read_json(folder / INDEX, ModelError, MAX_INDEX)
    places = index.get("weight_map") if isinstance(index, dict) else None
    files = list(places.values()) if isinstance(places, dict) else [None]
    if not all(isinstance(file, str) and not unusable(file) for file in files):
        raise ModelError(f"{folder / INDEX}: expected a mapping weight_map of tensor names to files")
    return [folder / name for name in sorted({Path(str(file)).name for file in files})]


def module_shapes(name: str, module: Any) -> Shapes:
    """Return the shapes of a built module's parameters.

    Args:
        name: What stands before their names.
        module: An MLX module, or anything else, which has none.
    """
    from mlx.utils import tree_flatten

    parameters = getattr(module, "parameters", None)
    flat: Iterable[Any] = tree_flatten(parameters()) if callable(parameters) else ()
    return {f"{name}.{path}": tuple(array.shape) for path, array in flat}
