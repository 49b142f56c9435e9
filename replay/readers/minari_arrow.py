"""Minari's arrow and parquet backends: one folder for each episode, whose columns are all padded to T + 1 rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from replay.errors import DataError

LONGEST_EPISODE = 32_767
"""Longer ones come back cut or out of order from minari's own writer (Farama-Foundation/Minari issue 351)."""
_SMALL = 1 << 30
"""Bytes that any parquet file may hold, whatever its size."""
_MOST_RATIO = 500
_REMEDY = "Fetch the dataset again."


def episodes(
    found: Sequence[list[Path]], backend: str, columns: Sequence[str], success: Sequence[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The folder and the columns of each episode, `success` too where its infos tell of it: arrays, lists of encoded
    pictures, or dictionaries of those. Raises `DataError` for files that are not as minari writes them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for parts in found:
        folder = parts[0].parent
        try:
            table = _table(parts, backend)
            T = table.num_rows - 1
            if T > LONGEST_EPISODE:
                raise DataError(
                    f"{folder}: an episode of {T} steps, expected at most {LONGEST_EPISODE}. Minari's {backend} "
                    "backend stores longer ones cut or out of order (its issue 351); record them with "
                    "data_format=hdf5."
                )
            missing = [key for key in columns if table.column_names.count(key) != 1]
            if missing:
                raise DataError(
                    f"{folder}: lacks {', '.join(missing)}, or has it twice; expected {', '.join(columns)}."
                )
            raw = {key: _value(table[key].combine_chunks()) for key in columns}
            for key in columns[1:]:
                if isinstance(raw[key], dict):
                    raise DataError(f"{folder}, {key}: found a struct, expected one array. {_REMEDY}")
                raw[key] = raw[key][:T]  # the last row of these columns is filler
            if table.column_names.count("infos") == 1 and pa.types.is_struct(table.schema.field("infos").type):
                infos = table["infos"].combine_chunks()
                for key in success:
                    if infos.type.get_field_index(key) >= 0:
                        raw["success"] = _value(pc.struct_field(infos, key).drop_null())
        except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{folder}: is not as minari's {backend} backend writes it ({error}). {_REMEDY}") from error
        yield f"{folder}", raw


def _table(parts: Sequence[Path], backend: str) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = []
    for part in parts:
        try:
            if backend == "parquet":
                with pq.ParquetFile(part) as file:
                    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
                    unpacked, size = sum(group.total_byte_size for group in groups), part.stat().st_size
                    # Before it is unpacked.
                    if unpacked > max(_SMALL, _MOST_RATIO * size):
                        raise DataError(
                            f"{part}: says that it holds {unpacked:,} bytes in a file of {size:,}, expected at most "
                            f"{_MOST_RATIO} times its size. {_REMEDY}"
                        )
                    table = file.read()
            else:
                with pa.ipc.open_file(part) as reader:
                    table = reader.read_all()
            table.validate(full=True)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{part}: is no {backend} file ({error}). {_REMEDY}") from error
        tables.append(table)
    return pa.concat_tables(tables)


def _value(column: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_struct(column.type):
        return {field.name: _value(pc.struct_field(column, field.name)) for field in column.type}
    if pa.types.is_fixed_size_list(column.type):
        flat = column.flatten().to_numpy(zero_copy_only=False)
        return flat.reshape(len(column), column.type.list_size)
    if pa.types.is_binary(column.type):
        return column.to_pylist()
    return column.to_numpy(zero_copy_only=False)
