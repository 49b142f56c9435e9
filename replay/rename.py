"""Renaming a folder to a name that nothing has yet: POSIX's rename replaces an empty folder without a word."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from pathlib import Path

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
"""What Linux answers where the file system, or the kernel, has no such rename."""


def rename_to_free_name(source: Path, target: Path) -> None:
    """The folder `source` becomes `target`, in one step. Raises `FileExistsError` for whatever `target` is already,
    a link that leads nowhere included, and `OSError` as the disk does."""
    if _rename_no_replace(source, target):
        return
    # Elsewhere an empty folder claims the name, for `mkdir` fails where there is anything; `rename` then replaces it,
    # and fails if somebody put something into it.
    os.mkdir(target)
    try:
        os.rename(source, target)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.rmdir(target)
        if error.errno == errno.ENOTEMPTY:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
        raise


def _rename_no_replace(source: Path, target: Path) -> bool:
    """Linux's renameat2; False where there is none."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    rename.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    if rename(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), str(source), None, str(target))
