"""Where the model of a run's only fit is found: in the folder of that fit, to which RUN/model leads."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from stepbus.storage import DESCRIPTION

FITS, MODEL, CHECKPOINTS, RESULT = "fits", "model", "checkpoints", "result.json"
_OF_A_FIT = re.compile(rf"{FITS}/[^/]+/{MODEL}")  # what the link to a model says


def is_of_before(run: Path, fits: Sequence[str]) -> bool:
    """Whether a run's only fit lies in its own folder, as it did before every fit had one in `fits`.

    Args:
        run: The run's folder.
        fits: The names of its fits.
    """
    if len(fits) != 1 or os.path.lexists(run / FITS / fits[0]):
        return False
    model = run / MODEL / DESCRIPTION
    begun = any(os.path.lexists(run / name) for name in (RESULT, CHECKPOINTS))
    return begun or (os.path.lexists(model) and not model.parent.is_symlink())


def link_model(run: Path, model: Path) -> str:
    """Let RUN/model lead to the model of a run's only fit, where links work; what stands there already stays.

    Args:
        run: The run's folder.
        model: The folder of the model, in it.

    Returns:
        What a user should know: whose RUN/model is, where it is none of ours; else "".
    """
    link, inside = run / MODEL, model.relative_to(run)
    if link.is_symlink() and _OF_A_FIT.fullmatch(str(link.readlink())):
        if link.readlink() == inside:
            return ""
        link.unlink()  # to a fit that the plan has no more
    try:
        link.symlink_to(inside, target_is_directory=True)
    except FileExistsError:
        return f"the model lies in {model}; {link} was there before, so it stays and does not lead to it"
    except OSError:
        pass  # a file system without links: who names the run needs none
    return ""
