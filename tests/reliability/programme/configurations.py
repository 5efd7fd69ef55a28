"""What the resume programme trains: the six configurations of its first row, and everything else that a fit may keep.

Each is laid over the tiny configuration (11 batches an epoch) and does 22 updates, but for those that stop before.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stepbus import import_module

Tree = dict[str, Any]

techniques = import_module(str(Path(__file__).parents[2] / "fixtures" / "techniques.py"))

EVERY_STEP = {"save_strategy": "steps", "save_steps": 1}
# The best evaluation is an early one, and more come after it.
STALLS: Tree = {
    "training": {
        "eval_strategy": "steps",
        "eval_steps": 2,
        "num_epochs": 4,
        "monitor": "eval_loss",
        "greater_is_better": None,
    },
    "optimizer": {"learning_rate": 5e-2},
    "scheduler": {"type": "constant"},
    "plugins": {"early_stopping": {"patience": 2}},
}


def over(below: Tree, above: Tree) -> Tree:
    """Return sections with others laid over them, setting by setting."""
    found = dict(below)
    for name, section in above.items():
        mixed = isinstance(section, dict) and isinstance(found.get(name), dict)
        found[name] = {**found[name], **section} if mixed else section
    return found


def _rate(kind: str, **settings: Any) -> Tree:
    return {"scheduler": {"type": kind, **settings}}


# Row one: what is cut at each of its 22 boundaries. The tiny model has dropout in all of them.
SIX: dict[str, Tree] = {
    "dropout": {},
    "accumulation": {"training": {"gradient_accumulation_steps": 3, "num_epochs": 6, "max_steps": 22}},
    "ema": {
        "plugins": {"ema": {"decay": 0.8, "from_step": 1}, "early_stopping": {"patience": 20}},
        "training": {"eval_strategy": "steps", "eval_steps": 3},
    },
    # Nothing improves by so much: ten evaluations after the first one, at update 22, it stops and puts the best back.
    "early_stopping": {
        "plugins": {"early_stopping": {"patience": 10, "min_delta": 10.0}},
        "training": {"eval_strategy": "steps", "eval_steps": 2, "num_epochs": 4},
    },
    "plateau": {
        **_rate("reduce_on_plateau", patience=1, monitor="eval_loss", factor=0.5, cooldown=1),
        "training": {"eval_strategy": "steps", "eval_steps": 2},
        "optimizer": {"learning_rate": 3e-2},
    },
    "bfloat16": {"training": {"precision": "bfloat16"}},
}

OTHERS: dict[str, Tree] = {
    "constant": _rate("constant", warmup_steps=5),
    "linear": _rate("linear", warmup_steps=3, min_lr=1e-4),
    "cosine": _rate("cosine", warmup_ratio=0.2),
    "exponential": _rate("exponential", gamma=0.5),
    "polynomial": _rate("polynomial", power=3.0),
    "plateau_of_averages": over(
        over(STALLS, _rate("reduce_on_plateau", patience=0, factor=0.3)),
        {"plugins": {"ema": {"decay": 0.6}, "early_stopping": {"patience": 6}}},
    ),
    "stops_early": STALLS,
    "ema_stops_early": over(STALLS, {"plugins": {"ema": {"decay": 0.8, "from_step": 1}}}),
    "ema_ahead_of_the_host": over(STALLS, {"plugins": {"ema": {"decay": 0.8}}, "training": {"pipeline_depth": 1}}),
    "swa": {"plugins": {"swa": {"from_step": 2, "every": 2}}},
    "schedule_free": over(
        STALLS, {"optimizer": {"type": "schedule_free"}, "scheduler": {"type": "constant", "warmup_steps": 2}}
    ),
    "schedule_free_ahead_of_the_host": over(
        STALLS,
        {
            "optimizer": {"type": "schedule_free"},
            "scheduler": {"type": "constant", "warmup_steps": 2},
            "training": {"pipeline_depth": 1},
        },
    ),
    "adafactor": {"optimizer": {"type": "adafactor"}},
    "muon": {"optimizer": {"type": "muon"}},
    "sgd": {"optimizer": {"type": "sgd", "momentum": 0.9}},
    "fgm": {"plugins": {"adversarial_training": {"mode": "fgm", "from_epoch": 2}}},
    "awp": {"plugins": {"adversarial_training": {"mode": "awp", "from_step": 5, "ascent_steps": 2}}},
    "lora": {"plugins": {"lora": {"rank": 2, "dropout": 0.1}}},
    "lora_stops_early": over(
        STALLS, {"plugins": {"lora": {"rank": 2}, "early_stopping": {"patience": 3, "min_delta": 10.0}}}
    ),
    "lora_and_ema": {
        "plugins": {"lora": {"rank": 2}, "ema": {"decay": 0.7}, "early_stopping": {"patience": 20}},
        "training": {"eval_strategy": "steps", "eval_steps": 4},
    },
    "gradual_unfreezing": {
        "plugins": {"freeze": {"gradual": True, "unfreeze_every": 4, "unfreeze_by": "updates"}},
    },
    "rdrop": {"plugins": {"rdrop": {"alpha": 0.5}}},
    "float16": {"training": {"precision": "float16"}},
    # Updates 2, 4, 8, 16 and 22 are skipped, and each halves the loss scale.
    "float16_overflows": {"training": {"precision": "float16"}, "optimizer": {"learning_rate": 1.0}},
    # From update 2 on no loss is finite; what is kept of such a streak decides when it ends the fit.
    "not_finite": {
        "plugins": {"nan_guard": {"policy": "stop", "patience": 5}},
        "optimizer": {"type": "sgd", "learning_rate": 1e30},
    },
    "cross_validation": {
        "data": {"validation": None, "batch_size": 2},
        "plugins": {"cross_validation": {"folds": 2}, "early_stopping": {"patience": 3}},
        "training": {"num_epochs": 1, "eval_strategy": "steps", "eval_steps": 3},
    },
    "cross_validation_of_averages": {
        "data": {"validation": None, "batch_size": 4},
        "plugins": {"cross_validation": {"folds": 3}, "ema": {"decay": 0.7}, "adversarial_training": {"mode": "fgm"}},
        **_rate("cosine", warmup_steps=2),
    },
    "partial_batches": {"data": {"batch_size": 5}, "training": {"log_steps": 4}},
    "token_budget": {"data": {"tokens_per_batch": 64}, "training": {"max_steps": 22, "num_epochs": 6}},
    "living_memory": {"plugins": {"remembers": {"use": f"{Path(__file__).with_name('remembering.py')}:Remembers"}}},
    "no_evaluation": {"training": {"eval_strategy": "no"}},
    "all_together": techniques.together({}, *techniques.TOGETHER),
    "all_ahead_of_the_host": over(
        techniques.together({}, *techniques.TOGETHER),
        {
            "training": {"pipeline_depth": 1, "eval_strategy": "steps", "eval_steps": 3},
            "plugins": {"early_stopping": {}},
        },
    ),
    "all_others": techniques.together(
        {}, "last_four", "lora", "layerwise_decay", "focal", "rdrop", "awp", "swa", "float16"
    ),
    "all_of_schedule_free": over(
        techniques.together({}, "freeze", "schedule_free", "multi_sample_dropout", "accumulation", "float16"),
        {"training": {"num_epochs": 4, "max_steps": 22, "pipeline_depth": 1}},
    ),
}

# When checkpoints are written is another matter than what they hold: after a cut, updates may have to be done again.
SAVES: dict[str, Tree] = {
    "every_step": EVERY_STEP,
    "every_4_steps": {"save_strategy": "steps", "save_steps": 4, "keep_last": 1},
    "epochs": {"save_strategy": "epoch"},
    "best": {"save_strategy": "best"},
    "late": {"save_strategy": "steps", "save_steps": 7, "at_start": False},
}

ALL = {**SIX, **OTHERS}


def sections(name: str, saves: str = "every_step") -> Tree:
    """Return the sections of a configuration, to be laid over the tiny one.

    Args:
        name: The configuration.
        saves: When its checkpoints are written, of `SAVES`.
    """
    return over({"plugins": {"progress": False, "checkpoint": SAVES[saves]}}, ALL[name])
