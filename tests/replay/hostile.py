"""Datasets as somebody might write them who means harm: every hash is right, only what they say is not."""

import hashlib
import json
import os
import socket

import pyarrow as pa

from replay.references import SHARD_COLUMNS
from replay.tables import write_table


def table(path):
    return pa.ipc.open_file(pa.BufferReader(path.read_bytes())).read_all()


def edit_table(folder, name, types, number, **changes):
    """Other values in row `number` of a table, with the hash that dataset.json needs."""
    columns = table(folder / name).to_pydict()
    for column, value in changes.items():
        columns[column][number] = value
    (folder / name).unlink()
    recorded = write_table(folder / name, types, columns)
    edit(folder, tables={**record(folder)["tables"], name: recorded})


def refer(folder, number, **changes):
    """Other words about a shard: `file`, `rows`, `bytes`, `sha256`."""
    edit_table(folder, "shards.arrow", SHARD_COLUMNS, number, **changes)


def record(folder):
    return json.loads((folder / "dataset.json").read_text())


def edit(folder, **changes):
    (folder / "dataset.json").write_text(json.dumps({**record(folder), **changes}))


def put_pipe(path):
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    return "a pipe"


def put_socket(path):
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))  # as such a name must be short
    return "a socket"


def put_folder(path):
    path.unlink(missing_ok=True)
    path.mkdir()
    return "a folder"


def put_link(path):
    """To a file of the same content, elsewhere."""
    elsewhere = path.parents[2] / f"elsewhere-{path.name}"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    return "a symbolic link"


def put_shard(folder, number, content):
    """Another content of a shard's file, with the words and hashes that it needs."""
    name = table(folder / "shards.arrow").column("file")[number].as_py()
    (folder / name).write_bytes(content)
    refer(folder, number, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def put_table(folder, name, content):
    """Another content of a table, with the hash that dataset.json needs."""
    (folder / name).write_bytes(content)
    words = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    edit(folder, tables={**record(folder)["tables"], name: words})


def arrow(*batches, **options):
    """The content of an Arrow file."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batches[0].schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue().to_pybytes()
