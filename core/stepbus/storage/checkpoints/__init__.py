"""Checkpoints: folders `step-00000100` that are whole or absent, and are trusted only after verification."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.storage.checkpoints.background import Writer as Writer
    from stepbus.storage.checkpoints.facts import compare_facts as compare_facts
    from stepbus.storage.checkpoints.hints import best_of as best_of
    from stepbus.storage.checkpoints.hints import mark_best as mark_best
    from stepbus.storage.checkpoints.hints import written_last as written_last
    from stepbus.storage.checkpoints.removal import empty_trash as empty_trash
    from stepbus.storage.checkpoints.retirement import latest_valid as latest_valid
    from stepbus.storage.checkpoints.retirement import retire as retire
    from stepbus.storage.checkpoints.retirement import set_aside as set_aside
    from stepbus.storage.checkpoints.retirement import without as without
    from stepbus.storage.checkpoints.sweeping import discard as discard
    from stepbus.storage.checkpoints.sweeping import sweep as sweep
    from stepbus.storage.checkpoints.sweeping import trial_place as trial_place
    from stepbus.storage.checkpoints.thinning import share_files as share_files
    from stepbus.storage.checkpoints.verification import MANIFEST as MANIFEST
    from stepbus.storage.checkpoints.verification import Checkpoint as Checkpoint
    from stepbus.storage.checkpoints.verification import checkpoint_path as checkpoint_path
    from stepbus.storage.checkpoints.verification import is_sound as is_sound
    from stepbus.storage.checkpoints.verification import read_arrays as read_arrays
    from stepbus.storage.checkpoints.verification import read_document as read_document
    from stepbus.storage.checkpoints.verification import read_manifest as read_manifest
    from stepbus.storage.checkpoints.verification import scan as scan
    from stepbus.storage.checkpoints.verification import step_of as step_of
    from stepbus.storage.checkpoints.verification import verify as verify
    from stepbus.storage.checkpoints.writing import NotFiniteError as NotFiniteError
    from stepbus.storage.checkpoints.writing import Snapshot as Snapshot
    from stepbus.storage.checkpoints.writing import held as held
    from stepbus.storage.checkpoints.writing import write_checkpoint as write_checkpoint
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        background="Writer",
        facts="compare_facts",
        hints="best_of mark_best written_last",
        removal="empty_trash",
        retirement="latest_valid retire set_aside without",
        sweeping="discard sweep trial_place",
        thinning="share_files",
        verification="Checkpoint MANIFEST checkpoint_path is_sound read_arrays read_document read_manifest "
        "scan step_of verify",
        writing="NotFiniteError Snapshot held write_checkpoint",
    )
