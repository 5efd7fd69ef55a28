"""Parquet files; values keep their types, and whole numbers stay whole beside gaps."""

from __future__ import annotations

from typing import Any

from stepbus import DataError, Source


class Parquet:
    """Reads a Parquet file.

    Args:
        config: Nothing.
    """

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self, source: Source) -> Any:
        """Return the file's rows as an Arrow table.

        Raises:
            DataError: It is no Parquet file.
        """
        import pyarrow.parquet

        try:
            with pyarrow.parquet.ParquetFile(source.path) as file:
                return file.read()
        except (OSError, ValueError) as error:
            raise DataError(f"{source}: expected a Parquet file, got {str(error).splitlines()[0]}") from None
