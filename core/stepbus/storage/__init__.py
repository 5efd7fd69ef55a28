"""Durable files: tensors, digests, locks, and checkpoints that are whole or absent."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.storage.carrying import carry_over as carry_over
    from stepbus.storage.digests import PLAIN_NAME as PLAIN_NAME
    from stepbus.storage.digests import check_file as check_file
    from stepbus.storage.digests import document_digest as document_digest
    from stepbus.storage.digests import hash_file as hash_file
    from stepbus.storage.digests import sealed as sealed
    from stepbus.storage.digests import unsealed as unsealed
    from stepbus.storage.digests import written_from as written_from
    from stepbus.storage.digests import written_table as written_table
    from stepbus.storage.durable import BLOCK as BLOCK
    from stepbus.storage.durable import Written as Written
    from stepbus.storage.durable import from_json as from_json
    from stepbus.storage.durable import fsync_file as fsync_file
    from stepbus.storage.durable import fsync_folder as fsync_folder
    from stepbus.storage.durable import to_json as to_json
    from stepbus.storage.durable import write_bytes_atomically as write_bytes_atomically
    from stepbus.storage.durable import write_file as write_file
    from stepbus.storage.durable import write_json_atomically as write_json_atomically
    from stepbus.storage.durable import write_text_atomically as write_text_atomically
    from stepbus.storage.exports import AVERAGED as AVERAGED
    from stepbus.storage.exports import DESCRIPTION as DESCRIPTION
    from stepbus.storage.exports import FORMAT as FORMAT
    from stepbus.storage.exports import LINEAGE as LINEAGE
    from stepbus.storage.exports import check_export as check_export
    from stepbus.storage.exports import describe_files as describe_files
    from stepbus.storage.exports import files_of as files_of
    from stepbus.storage.exports import is_averaged as is_averaged
    from stepbus.storage.exports import verify_folder as verify_folder
    from stepbus.storage.leftovers import is_leftover as is_leftover
    from stepbus.storage.leftovers import put_back as put_back
    from stepbus.storage.locks import LOCK as LOCK
    from stepbus.storage.locks import FolderHeld as FolderHeld
    from stepbus.storage.locks import lock_folder as lock_folder
    from stepbus.storage.locks import remove_made as remove_made
    from stepbus.storage.plugin_state import decode_state as decode_state
    from stepbus.storage.plugin_state import encode_state as encode_state
    from stepbus.storage.plugin_state import frozen_state as frozen_state
    from stepbus.storage.tables import TableFiles as TableFiles
    from stepbus.storage.tensor_files import HeldArray as HeldArray
    from stepbus.storage.tensor_files import check_tensors as check_tensors
    from stepbus.storage.tensor_files import hold as hold
    from stepbus.storage.tensor_files import read_tensors as read_tensors
    from stepbus.storage.tensor_files import write_tensors as write_tensors
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        carrying="carry_over",
        digests="PLAIN_NAME check_file document_digest hash_file sealed unsealed written_from written_table",
        durable="BLOCK Written from_json fsync_file fsync_folder to_json write_bytes_atomically write_file "
        "write_json_atomically write_text_atomically",
        exports="AVERAGED DESCRIPTION FORMAT LINEAGE check_export describe_files files_of is_averaged verify_folder",
        leftovers="is_leftover put_back",
        locks="FolderHeld LOCK lock_folder remove_made",
        plugin_state="decode_state encode_state frozen_state",
        tables="TableFiles",
        tensor_files="HeldArray check_tensors hold read_tensors write_tensors",
    )
