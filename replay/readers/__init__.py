"""Where logs come from: one module per kind of source, imported when it is used.

Each has `read(location, options) -> Source`.
"""

from __future__ import annotations

from importlib import import_module

from replay.errors import DataError
from replay.readers.source import Options, Source, expanded

READERS = {
    "minari": "replay.readers.minari",
    "ogbench": "replay.readers.ogbench",
    "hdf5": "replay.readers.hdf5",
    "parquet": "replay.readers.parquet",
    "folder": "replay.readers.folder",
}


def read(source: str, options: Options) -> Source:
    """Opens `scheme:location`, or a dataset folder. Raises `DataError` for what it is not."""
    scheme, colon, location = source.partition(":")
    if not colon:
        scheme, location = "folder", source
    if not source.strip():
        raise DataError("SOURCE: found nothing, expected a kind of source, a colon and a place, or a dataset folder.")
    if scheme not in READERS:
        known = ", ".join(f"{name}:" for name in READERS if name != "folder")
        raise DataError(f"{source}: {scheme!r} is no kind of source; expected {known} or a dataset folder.")
    expanded(location, source)
    if not location:
        raise DataError(f"{source}: names no data; expected {scheme}:<location>.")
    return import_module(READERS[scheme]).read(location, options)


__all__ = ["READERS", "Options", "Source", "read"]
