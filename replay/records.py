"""The JSON record that makes its folder a dataset or an online store."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from replay.errors import DataError
from replay.regular import read


def read_record(path: Path, kind: str, version: int, *, what: str, maker: str) -> tuple[dict[str, Any], str]:
    """The record and the sha256 of the very bytes it was read from. Raises `DataError` for none, or one of another
    kind."""
    folder = path.parent
    try:
        content = read(path)
        record = json.loads(content)
    except FileNotFoundError as error:
        found = "no such folder" if not folder.exists() else f"no {path.name} in it"
        raise DataError(
            f"{folder}: not {what}: {found}. Name a folder made by {maker}; "
            f"a folder whose writing was interrupted is none, make it again."
        ) from error
    except DataError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: unreadable ({error}); restore it from a copy or make it again.") from error
    if not isinstance(record, dict) or record.get("format") != kind:
        raise DataError(f"{path}: not {what} manifest: `format` is not {kind!r}.")
    if record.get("version") != version:
        raise DataError(
            f"{path}: format version {record.get('version')!r}, this program reads {version}; "
            f"use the program that wrote it, or ingest the source again."
        )
    return record, hashlib.sha256(content).hexdigest()


MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)
"""What reading a record raises that is not as it was written."""


def not_whole(where: str, error: Exception) -> DataError:
    return DataError(f"{where}: not a whole manifest ({error!r}); restore it from a copy or ingest the dataset again.")


def whole(value: Any, name: str) -> int:
    """A count out of a record. Raises `ValueError` for what is not a whole number from 0 to 2⁶³ - 1."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
        raise ValueError(f"{name}: found {value!r}, expected a whole number, not negative")
    return value
