"""What every test has: one thread to compute with, a Ctrl-C that is heard, and a cache of verified files of its own."""

import os
import signal

import pytest

# Before PyTorch is imported. Tests run in as many processes as there are cores: with more threads than cores, PyTorch's
# wait for each other by spinning, and training tests took four times the processor time.
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

# A shell starts what runs in its background with SIGINT ignored, and all processes that tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory):
    """Processes that tests start, those of Ray too, inherit it."""
    os.environ["QUIVER_CACHE"] = str(tmp_path_factory.mktemp("cache") / "quiver")
