"""Files of others in a folder that is about to be replaced."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from stepbus.storage.durable import fsync_folder


def carry_over(source: Path, target: Path, leave: frozenset[str] = frozenset()) -> None:
    """Take along what somebody put into a folder that is about to be replaced; what the new one has stays.

    Files are linked, so nothing is copied and nothing is ever missing in between.

    Args:
        source: The old folder.
        target: The new folder.
        leave: Names at its top that are not taken along.

    Raises:
        OSError: The file system refuses.
    """
    for entry in sorted(source.iterdir()):
        new = target / entry.name
        if entry.name in leave:
            continue
        if entry.is_dir() and not entry.is_symlink():
            new.mkdir(exist_ok=True)
            carry_over(entry, new)
            shutil.copystat(entry, new)
        elif not os.path.lexists(new):
            try:
                os.link(entry, new, follow_symlinks=False)
            except OSError:  # a file system without links
                shutil.copy2(entry, new, follow_symlinks=False)
    fsync_folder(target)
