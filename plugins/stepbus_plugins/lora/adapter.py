"""LoRA's matrices as the folder of an adapter, as PEFT (Hugging Face) writes and reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stepbus import find_folder, read_tensors, write_bytes_atomically
from stepbus_plugins.lora.layers import A, B, adapted

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def adapter_files(
    tensors: Mapping[str, Any], trained: Sequence[str], *, rank: int, alpha: float, dropout: float, base: str | None
) -> dict[str, bytes]:
    """Return the two files of an adapter.

    Args:
        tensors: Name in files -> array, of the model with A and B.
        trained: The names of those that were trained as they are, such as the head's.
        rank: r.
        alpha: What is divided by r to scale the product.
        dropout: Chance of an input of A to be dropped.
        base: Where the weights beside it come from, None where no folder has them.
    """
    import numpy as np
    from safetensors.numpy import save

    arrays = {}
    for name in adapted(tensors):
        for part in (A, B):
            arrays[f"base_model.model.{name}{part}.weight"] = np.array(tensors[f"{name}{part}"])
    for name in trained:
        arrays[f"base_model.model.{name}"] = np.array(tensors[name])
    config = {
        "peft_type": "LORA",
        "task_type": "SEQ_CLS",
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": alpha,
        "lora_dropout": dropout,
        "modules_to_save": sorted({name.rpartition(".")[0] for name in trained}) or None,
        "r": rank,
        # Whole names: the end of one alone might mean a layer that has no adapter.
        "target_modules": sorted(adapted(tensors)),
        "use_rslora": False,
    }
    content = json.dumps(config, indent=2, sort_keys=True) + "\n"
    return {WEIGHTS: save(arrays, {"format": "pt"}), CONFIG: content.encode()}


def is_base(source: str, tensors: Mapping[str, Any], trained: Sequence[str]) -> bool:
    """Return whether a folder holds the weights that stand beside an adapter, to the last bit.

    Args:
        source: What `model.pretrained` names.
        tensors: Name in files -> array, of the model with A and B.
        trained: The names of those that the adapter brings itself.
    """
    import numpy as np

    stored = read_tensors(find_folder(source))
    own = {name: array for name, array in tensors.items() if not name.endswith((A, B)) and name not in trained}
    # A bare encoder's file has no prefix before its names.
    found = {name: stored.get(name, stored.get(name.partition(".")[2])) for name in own}
    return all(
        array is not None and np.array_equal(np.array(array), np.array(own[name])) for name, array in found.items()
    )


def write_adapter(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write an adapter's folder, its configuration last.

    Args:
        folder: Where it shall be.
        files: File name -> content.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_bytes_atomically(folder / name, content)
