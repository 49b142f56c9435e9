"""`quiver` as a process of its own with shorter time limits, to lose Ray under: `impatient_cli.py train …`."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from cluster import cli  # noqa: E402
from cluster.backends import ray_watch  # noqa: E402

if __name__ == "__main__":
    ray_watch.GCS_TIMEOUT = 6.0
    ray_watch.REPLACEMENT_TIMEOUT = 15.0
    sys.exit(cli.main())
