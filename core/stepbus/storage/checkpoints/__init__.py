"""Checkpoints: folders `step-00000100` that are whole or absent, and are trusted only after verification.

Writing: a hidden folder beside, every file synced, the manifest last, read back and verified, then renamed. Reading:
the truth is a scan plus verification; `LATEST` and `BEST` are hints for people. Whoever writes, resumes or retires
holds the run's folder (`stepbus.storage.durable.lock_folder`). Hidden names in a folder of checkpoints, N a step:

    .tmp-N-ID                being written; removed at the next retirement, or when the run is started again
    .replaced-step-N-ID      gave its name to a new checkpoint of the same step; removed once that one stands
    .trash-step-N-ID         being removed
    .quarantine-step-N-ID    found damaged; never removed
    .superseded-step-N-ID    later than the checkpoint that a run was told to resume from; never removed
"""

from stepbus.storage.checkpoints.facts import compare_facts as compare_facts
from stepbus.storage.checkpoints.selection import Retention as Retention
from stepbus.storage.checkpoints.selection import latest_valid as latest_valid
from stepbus.storage.checkpoints.selection import retire as retire
from stepbus.storage.checkpoints.selection import set_aside as set_aside
from stepbus.storage.checkpoints.selection import sweep as sweep
from stepbus.storage.checkpoints.verification import MANIFEST as MANIFEST
from stepbus.storage.checkpoints.verification import Checkpoint as Checkpoint
from stepbus.storage.checkpoints.verification import checkpoint_path as checkpoint_path
from stepbus.storage.checkpoints.verification import read_arrays as read_arrays
from stepbus.storage.checkpoints.verification import read_document as read_document
from stepbus.storage.checkpoints.verification import read_manifest as read_manifest
from stepbus.storage.checkpoints.verification import scan as scan
from stepbus.storage.checkpoints.verification import step_of as step_of
from stepbus.storage.checkpoints.verification import verify as verify
from stepbus.storage.checkpoints.writing import Snapshot as Snapshot
from stepbus.storage.checkpoints.writing import mark_best as mark_best
from stepbus.storage.checkpoints.writing import write_checkpoint as write_checkpoint
