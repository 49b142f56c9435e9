"""What memory is left: the machine's, a container's, a shell's limit; and a need that is refused before it is taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from replay import memory
from replay.errors import DataError

GIB = 1 << 30
MACHINE = {"proc/meminfo": "MemTotal:  16777216 kB\nMemAvailable:   8388608 kB\n"}

CASES = {
    "nothing says anything": ({}, 1 << 62),
    "a machine": (MACHINE, 8 * GIB),
    "a group without a limit": (
        {**MACHINE, "proc/self/cgroup": "0::/job\n", "sys/fs/cgroup/job/memory.max": "max\n"},
        8 * GIB,
    ),
    "version 2, with files in memory that can go": (
        {
            **MACHINE,
            "proc/self/cgroup": "0::/job\n",
            "sys/fs/cgroup/job/memory.max": f"{4 * GIB}\n",
            "sys/fs/cgroup/job/memory.current": f"{3 * GIB}\n",
            "sys/fs/cgroup/job/memory.stat": f"anon 1\ninactive_file {2 * GIB}\n",
        },
        3 * GIB,
    ),
    "the limit of a group above": (
        {
            **MACHINE,
            "proc/self/cgroup": "0::/user/job\n",
            "sys/fs/cgroup/user/job/memory.max": "max\n",
            "sys/fs/cgroup/user/memory.max": f"{2 * GIB}\n",
            "sys/fs/cgroup/user/memory.current": f"{GIB}\n",
        },
        GIB,
    ),
    "version 1": (
        {
            **MACHINE,
            "proc/self/cgroup": "5:cpu:/job\n4:memory:/job\n0::/\n",
            "sys/fs/cgroup/memory/job/memory.limit_in_bytes": f"{GIB}\n",
            "sys/fs/cgroup/memory/job/memory.usage_in_bytes": "0\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
        GIB,
    ),
    "a container that is shown its host's path": (
        {
            **MACHINE,
            "proc/self/cgroup": "0::/system.slice/docker-1.scope\n",
            "sys/fs/cgroup/memory.max": f"{GIB}\n",
            "sys/fs/cgroup/memory.current": "0\n",
        },
        GIB,
    ),
    "a group that is over its limit": (
        {
            **MACHINE,
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": f"{GIB}\n",
            "sys/fs/cgroup/memory.current": f"{2 * GIB}\n",
        },
        0,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_least_of_all_limits_counts(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.resource, "getrlimit", lambda _: (memory.resource.RLIM_INFINITY,) * 2)
    files, expected = CASES[case]
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert memory.available_bytes(tmp_path) == expected


def test_a_shells_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.resource, "getrlimit", lambda _: (GIB, GIB))
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/statm").write_text("1000 5 4 3 0 2 0\n")
    assert memory.available_bytes(tmp_path) == GIB - 1000 * memory.resource.getpagesize()
    data = {memory.resource.RLIMIT_DATA: GIB // 2}
    monkeypatch.setattr(memory.resource, "getrlimit", lambda kind: (data.get(kind, -1),) * 2)
    assert memory.available_bytes(tmp_path) == GIB // 2 - 2 * memory.resource.getpagesize()


def test_this_machine_has_some() -> None:
    assert 0 < memory.available_bytes() <= 1 << 62


def test_what_does_not_fit_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 3 * 10**9)
    memory.require(10**9, "log.npz", "observations", "ingest a part.")
    with pytest.raises(
        DataError, match=r"log.npz: observations takes 8\.0 TB of memory, and 3\.0 GB are left; ingest a"
    ):
        memory.require(8 * 10**12, "log.npz", "observations", "ingest a part.")
