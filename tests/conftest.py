"""What every test has: a cache of verified files that is the session's own, and not the user's."""

import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory):
    """Processes that tests start, those of Ray too, inherit it."""
    os.environ["QUIVER_CACHE"] = str(tmp_path_factory.mktemp("cache") / "quiver")
