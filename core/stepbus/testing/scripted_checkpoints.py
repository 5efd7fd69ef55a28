"""Checkpoints of scripted fits: they are kept in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepbus.fit import best_weights, disabled_of, exporting, keep_disabled
from stepbus.fit.plugins import restore_state, state_of
from stepbus.storage import from_json, frozen_state, to_json
from stepbus.testing.script import Heard, Snapshot

if TYPE_CHECKING:
    from stepbus.fit import Fitting


class ScriptedCheckpoints:
    """In place of checkpoints on disk: snapshots are kept in memory, and only their folders are made.

    Args:
        heard: Where they are kept.
    """

    failed = False

    def __init__(self, heard: Heard) -> None:
        self.heard = heard
        self.written: list[Path] = []

    def snapshot(self, session: Fitting, folder: Path | None = None, *, optimizer: bool = True) -> Snapshot:
        """Take a snapshot."""
        from stepbus.storage.checkpoints import checkpoint_path

        exporting.stored_tensors(session)
        path = checkpoint_path(folder or session.directory / "checkpoints", session.state.step)
        return Snapshot(
            fit=session.fit.name,
            step=session.state.step,
            path=path,
            state=from_json(to_json(session.state.state_dict())),
            control=from_json(to_json(session.control.state_dict())),
            plugins=frozen_states(state_of(session.bus)),
            learning_rate=float(session.optimizer.learning_rate),
            best=dict(session.best_arrays),
            done=tuple(session.run.results),
            disabled=disabled_of(session.bus.members),
        )

    def submit(self, session: Fitting, snapshot: Snapshot) -> None:
        """Keep a snapshot, which is told at the next boundary."""
        self.written.append(self._keep(snapshot))

    def poll(self, session: Fitting) -> list[Path]:
        """Return the folders that were not told yet."""
        self.written, found = [], self.written
        return found

    def drain(self, session: Fitting, *, last: bool = False) -> list[Path]:
        """Return what `poll` does: nothing has to be waited for."""
        return self.poll(session)

    def save(self, session: Fitting, folder: Path | None = None, *, optimizer: bool = True) -> Path:
        """Take a snapshot and keep it."""
        return self._keep(self.snapshot(session, folder, optimizer=optimizer))

    def _keep(self, snapshot: Snapshot) -> Path:
        """Keep a snapshot; its folder holds nothing but its training state."""
        self.heard.checkpoints.append(snapshot)
        snapshot.path.mkdir(parents=True, exist_ok=True)
        (snapshot.path / "state.json").write_text(to_json(snapshot.state), encoding="utf-8")
        return snapshot.path

    def load(self, session: Fitting, path: Path, *, optimizer: bool = True) -> None:
        """Put the snapshot back that was taken for a folder."""
        kept = self.heard.snapshot(path)
        session.state.load_state_dict(from_json(to_json(kept.state)))
        session.control.load_state_dict(from_json(to_json(kept.control)))
        session.control.step = session.state.step
        restore_state(session.bus, frozen_states(kept.plugins))
        session.optimizer.learning_rate = kept.learning_rate
        session.model.step = kept.step
        best_weights.take_back(session, kept.best or None)
        keep_disabled(session.bus, kept.disabled)

    def retire(self, session: Fitting, retention: Any) -> None:
        """Keep all."""

    def export(self, session: Fitting) -> Path:
        """Make the folder of the model, with nothing in it."""
        exporting.files_of_plugins(session, ())
        folder = session.directory / "model"
        folder.mkdir(parents=True, exist_ok=True)
        session.artifact("model", folder)
        return folder


def frozen_states(states: Mapping[str, Any]) -> dict[str, Any]:
    """Return plugin states as a checkpoint gives them back; see `stepbus.storage.plugin_state` for what is allowed.

    Args:
        states: Name -> what `state_dict` returned.

    Raises:
        CheckpointError: A state holds something else.
    """
    return {name: frozen_state(name, state) for name, state in states.items()}
