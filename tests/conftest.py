"""What every test has: one thread to compute with, and a cache of verified files that is the session's own."""

import os

import pytest

# Before PyTorch is imported. Tests run in as many processes as there are cores: more threads than that wait for each
# other by turning idle, which made training tests take four times as long.
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory):
    """Processes that tests start, those of Ray too, inherit it."""
    os.environ["QUIVER_CACHE"] = str(tmp_path_factory.mktemp("cache") / "quiver")
