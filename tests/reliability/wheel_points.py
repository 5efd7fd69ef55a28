"""Kill a process before each file operation of fetching a model from an index; run as a script, without MLX.

python wheel_points.py WHEEL TEXT FOLDER     one line of JSON for each operation
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

from kill_points import die_before, in_child

from stepbus.storage.wheels import cache as wheel_cache
from stepbus.storage.wheels import download as pip_download


def main(wheel: Path, text: str, folder: Path) -> None:
    pip_download.download = lambda name, version, place: Path(shutil.copy(wheel, place))
    number, status = 0, signal.SIGKILL.value
    while status != 0:
        number += 1
        cache = folder / f"cache-{number}"
        os.environ["XDG_CACHE_HOME"] = str(cache)

        def work(number: int = number) -> None:
            die_before(number)
            wheel_cache.find(text)

        _, status = os.waitpid(in_child(work), 0)
        if status not in (0, signal.SIGKILL.value):
            raise SystemExit(f"the child of operation {number} ended with status {status}")
        # What is in its place is whole at any moment, and the next process brings the rest.
        models = cache / "stepbus" / "models"
        whole = all((place / "files.json").is_file() for place in models.glob("folders/*"))
        wheels = {path.stem for path in models.glob("wheels/*")}
        found = wheel_cache.find(text).folder
        wheel_cache.find(f"{text}/1_Pooling")  # whoever adds something removes what a dead one left
        result = {
            "killed": status != 0,
            "whole": whole,
            "wheels": sorted(wheels),
            "files": {path.relative_to(found).as_posix(): path.stat().st_size for path in found.rglob("*.*")},
            "left": sorted(path.name for path in models.glob(".*")),
        }
        print(json.dumps(result), flush=True)
        shutil.rmtree(cache)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
