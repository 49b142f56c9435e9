from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.processes import SESSION
from tests.cluster.runs import make_dataset


@pytest.fixture(scope="session", autouse=True)
def session_mark() -> None:
    os.environ[SESSION] = str(os.getpid())
    # Ray's workers would give way to the test process beside them, whatever it does.
    os.environ.setdefault("RAY_worker_niceness", "0")


@pytest.fixture(scope="module")
def ray_session() -> Iterator[None]:
    """One Ray for the tests of a file, which belong to one `xdist_group`: else each process of the suite starts one."""
    ray = pytest.importorskip("ray")
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("data") / "logs")
