"""All rows, by subject."""

from __future__ import annotations

from tests.bad_inputs.rows import Row
from tests.bad_inputs.tables import (
    cluster_file,
    collect,
    datasets,
    evaluate,
    finetune,
    ingest,
    logs,
    run_folders,
    train,
    words,
)

SUBJECTS: dict[str, list[Row]] = {
    "words": words.ROWS,
    "train": train.ROWS,
    "finetune": finetune.ROWS,
    "evaluate": evaluate.ROWS,
    "collect": collect.ROWS,
    "ingest": ingest.ROWS,
    "logs": logs.ROWS,
    "datasets": datasets.ROWS,
    "run folders": run_folders.ROWS,
    "cluster file": cluster_file.ROWS,
}
