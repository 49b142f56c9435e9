"""Command lines that are none."""

from __future__ import annotations

from tests.bad_inputs.rows import Row, table

_COMMANDS = {
    "train": "--dataset {data} --algo bc --run new",
    "finetune": "--algo iql --env Pendulum-v1 --run new --env-steps 10",
    "evaluate": "{run}",
    "collect": "--env Pendulum-v1 --policy random --episodes 1 --out new",
    "ingest": "{data} --out new",
    "inspect": "{data}",
    "report": "{run}",
}

ROWS: list[Row] = [
    *table(
        "",
        ("no such command", "trian", r"trian: no such command; did you mean train\?"),
        ("nothing like a command", "²", r"no such command; expected one of ingest, inspect"),
        ("an option first", "--dataset x", r"no such command; expected one of"),
        ("a command of markup", "[/b]", r"\[/b\]: no such command"),
        ("a command that steers a terminal", "'\x1b[2J'", r"\\x1b\[2J: no such command"),
    ),
    *(
        Row(f"{name}: an unknown option", f"{name} {words} --nosuch 1", r"--nosuch")
        for name, words in _COMMANDS.items()
    ),
    *(Row(f"{name}: a word too many", f"{name} {words} surplus", r"surplus") for name, words in _COMMANDS.items()),
    *(
        Row(f"{name}: nothing else", name, says)
        for name, says in {
            "train": r"--dataset|--algo|--run",
            "finetune": r"--run|--env-steps",
            "evaluate": r"RUN|run",
            "collect": r"--env\b",
            "ingest": r"SOURCE|source",
            "inspect": r"DATASET|dataset",
            "report": r"RUN|run",
        }.items()
    ),
    *table(
        "train --dataset {data} --algo bc --serial",
        ("a value is missing", "--run", r"--run"),
        ("a flag with a value", "--run new --compile=yes", r"yes|--compile"),
        ("an option twice", "--run new --steps 4 --steps 0", r"--steps"),
        ("an abbreviated option", "--run new --batch 4", r"--batch"),
    ),
]
