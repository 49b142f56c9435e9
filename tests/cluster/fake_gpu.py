"""A GPU that is none, for tests of what happens around one: in Ray's workers only, never in the driver.

Ray runs `install` as each worker starts (`worker_process_setup_hook`). Roles then compute on the CPU where they were
told cuda, and say that it was a GPU.
"""

from __future__ import annotations

NAME = "Imagined GPU"


def install() -> None:
    from cluster import process

    process.device_of = lambda kind, role: "cpu"
    process.gpu_name = lambda: NAME
