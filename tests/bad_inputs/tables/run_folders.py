"""Run folders that were changed: `quiver evaluate`, `report`, `train --resume` and `finetune --from` refuse them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.bad_inputs.changes import bad, becomes, field, holds, shown
from tests.bad_inputs.rows import Row

_COMMANDS = {
    "evaluate": "evaluate bad --episodes 1",
    "report": "report bad",
    "resume": "train --dataset {data} --run bad --resume --steps 10 --serial",
    "from": "finetune --from bad --run new --env-steps 8 --serial",
}
_CHECKPOINT = "checkpoints/step-000000008"


_FIELDS: Mapping[str, tuple[Any, ...]] = {
    "format": (..., None, 0, 2, "1", True, [], {}),
    "recipe": (..., None, 1, "x", [], {}),
    "recipe.algorithm": (..., None, 1, "nosuch", [], {}, ""),
    "recipe.knobs": (None, 1, "x", [], {"nosuch": 1}, {"hidden": 3}, {"hidden": ["x"]}, {"discount": "x"}),
    "recipe.datasets": (..., None, 1, "x", [1], [[]], [[1, 2, 3]], [[1, None]], [["/x", "y"]]),
    "recipe.seed": (None, "x", -1, 1.5, 10**30, []),
    "recipe.batch_size": (None, "x", -1, 0, 1.5, 10**30, [], True),
    "recipe.steps": (None, "x", -1, 0, 1.5, 10**30, []),
    "recipe.threads": (None, "x", -1, 0, 1.5, 10**30, []),
    "recipe.chunk_steps": (None, "x", -1, 0, 1.5, []),
    "recipe.device": (None, 1, "tpu", [], ""),
    "recipe.nosuch": (1,),
    "topology": (..., None, 1, "x", [], {"nosuch": 1}),
    "topology.learners": (None, 1, "x", [], {"count": "x"}, {"nosuch": 1}, {"count": -1}, {"count": 10**30}),
    "topology.max_restarts": (None, "x", -1, 1.5, []),
    "cadence": (..., None, 1, "x", [], {"nosuch": 1}),
    "cadence.keep": (None, "x", -4, 1.5, []),
    "cadence.log_every": (None, "x", -4, 1.5, []),
    "spaces": (..., None, 1, "x", [], {}),
    "spaces.observation": (..., None, 1, [], {"type": "nosuch"}),
    "spaces.observation.shape": (None, 3, [-1], ["x"], [10**12]),
    "spaces.action": (..., None, 1, {"type": "dict", "spaces": {}}),
    "statistics": (1, "x", [], {"observation": 1}),
    "environment": (1, "x", [], {}, {"id": 3}, {"id": ""}, {"id": "Pendulum-v1", "nosuch": 1}),
    "datasets": (..., None, 1, "x", {}, [1], [{}]),
}
_READ_BY: Mapping[str, tuple[str, ...]] = {
    "evaluate": ("format", "recipe", "spaces", "statistics"),
    "report": ("format", "datasets"),
    "resume": ("format", "recipe", "topology", "cadence", "environment"),
    "from": ("format", "recipe"),
}
"""Parts of config.json that each command cannot do without."""
_SPARED = {"recipe.seed", "recipe.batch_size", "recipe.steps", "recipe.device", "recipe.chunk_steps"}
"""Parts of a recipe that no policy is made of."""

_SUMMARY: Mapping[str, tuple[Any, ...]] = {
    "steps": (..., None, "x", -1, [], 1.5),
    "seconds": (..., "x", [], {}),
    "shards": ("x", [1], [{"name": 3}]),
    "updaters": ("x", [1]),
}
_RECORD: tuple[Any, ...] = (..., None, "x", -1, [], {}, 10**30)

ROWS: list[Row] = [
    *(
        Row(
            f"{command}: config.json, {path}: {shown(value)}",
            words,
            r"config\.json",
            bad("run", field("config.json", path, value)),
        )
        for command, words in _COMMANDS.items()
        for path, values in _FIELDS.items()
        if path.split(".")[0] in _READ_BY[command] and not (command == "evaluate" and path in _SPARED)
        for value in values
    ),
    *(
        Row(f"{command}: config.json holds {name}", words, r"bad/config\.json", bad("run", holds("config.json", text)))
        for command, words in _COMMANDS.items()
        for name, text in {
            "nothing": b"",
            "null": b"null",
            "a list": b"[]",
            "a number": b"3",
            "no JSON": b"{",
            "no text": b"\xff\xfe\x00",
            "absurd depth": b"[" * 100_000,
            "nothing of ours": b"{}",
        }.items()
    ),
    *(
        Row(f"{command}: {file} is {kind}", _COMMANDS[command], says, bad("run", becomes(file, kind)))
        for command, file, says in (
            ("evaluate", "config.json", r"bad/config\.json"),
            ("report", "config.json", r"bad/config\.json"),
            ("resume", "config.json", r"bad/config\.json"),
            ("report", "metrics.jsonl", r"bad/metrics\.jsonl"),
            ("evaluate", f"{_CHECKPOINT}/checkpoint.json", r"step-000000008.*checkpoint\.json"),
            ("evaluate", f"{_CHECKPOINT}/learner.safetensors", r"step-000000008.*learner\.safetensors"),
            ("resume", f"{_CHECKPOINT}/pipeline.safetensors", r"step-000000008.*pipeline\.safetensors"),
        )
        for kind in ("missing", "a pipe", "a folder", "/dev/zero")
    ),
    *(
        Row(
            f"report: summary.json is {kind}",
            "report bad",
            r"bad/summary\.json",
            bad("run", becomes("summary.json", kind)),
        )
        for kind in ("a pipe", "a folder", "/dev/zero")
    ),
    *(
        Row(
            f"report: metrics.jsonl holds {name}",
            "report bad",
            r"bad/metrics\.jsonl",
            bad("run", holds("metrics.jsonl", text)),
        )
        for name, text in {
            "nothing": b"",
            "no JSON": b"{\n",
            "null": b"null\n",
            "a number": b"3\n",
            "a list": b"[]\n",
            "no step": b'{"kind": "train"}\n',
            "a step of text": b'{"step": "x", "kind": "train"}\n',
            "a step below zero": b'{"step": -1, "kind": "train"}\n',
            "no kind": b'{"step": 1}\n',
            "a kind of number": b'{"step": 1, "kind": 3}\n',
            "a huge step": b'{"step": 1' + b"0" * 400 + b', "kind": "train"}\n',
            "absurd depth": b"[" * 100_000 + b"\n",
            "no text": b"\xff\xfe\n",
        }.items()
    ),
    *(
        Row(
            f"report: summary.json, {path}: {shown(value)}",
            "report bad",
            r"bad/summary\.json",
            bad("run", field("summary.json", path, value)),
        )
        for path, values in _SUMMARY.items()
        for value in values
    ),
    *(
        Row(
            f"checkpoint.json, {path}: {shown(value)}",
            "evaluate bad --episodes 1",
            r"checkpoint\.json",
            bad("run", field(f"{_CHECKPOINT}/checkpoint.json", path, value)),
        )
        for path in ("format", "run", "step", "metrics_offset", "history", "files", "sha256")
        for value in _RECORD
        if not (path == "run" and value is None)
    ),
    *(
        Row(
            f"{file} {name}",
            "evaluate bad --episodes 1",
            rf"step-000000008.*{file}",
            bad("run", holds(f"{_CHECKPOINT}/{file}", content)),
        )
        for file in ("learner.safetensors", "pipeline.safetensors", "checkpoint.json")
        for name, content in {
            "is empty": b"",
            "is something else": b"something else",
            "says it is huge": b"\xff" * 64,
        }.items()
    ),
    *(
        Row(
            f"LATEST holds {name}",
            "evaluate bad --episodes 1 --checkpoint best",
            r"checkpoints",
            bad("run", holds("checkpoints/BEST", content)),
        )
        for name, content in {
            "nothing": b"",
            "a way out": b"../../x",
            "no text": b"\xff",
            "another": b"step-000000005\n",
        }.items()
    ),
]
