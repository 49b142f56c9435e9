"""Looks at a process that steps an environment, from beside it: a program of its own, started by `envs.watch`.

A call of an environment that does not come back may hold the interpreter, and one that ends the process leaves nobody
to tell: only another process sees both. It knows the standard library alone, so that it starts in no time.

    watcher.py MEMORY PARENT TOLD_AFTER SECONDS GRACE STATUS TELLS_END

MEMORY is a file that both share (`STATE`, then the text), STATUS a pipe by which it says that the process should end
itself, TELLS_END 1 where it is to say that the process ended inside a call.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import signal
import struct
import sys
import time

STATE = struct.Struct("<QQQQ")
"""Calls begun and ended (odd: one is under way), the step, the first of these as it was when a call was given up, and
the length of the text."""
RESET, CONSTRUCTION = 0, 2**63
"""In the place of a step."""
COUNT = struct.Struct("<Q")
"""The first of them alone."""
SIZE = 4096
ENDED = b"."
"""What the process says before it closes the watch: all is well."""
SIGNAL = signal.SIGURG
"""One that does nothing to a process without a handler for it, which may just have taken it away."""


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    memory, parent, status, tells_end = (int(sys.argv[number]) for number in (1, 2, 6, 7))
    told_after, limit, grace = map(float, sys.argv[3:6])
    shared = mmap.mmap(memory, SIZE)
    period = min([0.5, *(seconds / 5 for seconds in (told_after, limit, grace) if seconds)])
    count, waited, looked, told, ended = 0, 0.0, time.monotonic(), False, 0
    while True:
        ready, _, _ = select.select([0], [], [], period)
        if ready or os.getppid() != parent:
            well = ready and os.read(0, 1) == ENDED
            if tells_end and not well and ended < 2 and STATE.unpack_from(shared, 0)[0] % 2:
                say(f"error: {place(shared)} ended the process, or somebody killed it there. {rest(shared)}")
            return
        now = time.monotonic()
        current = STATE.unpack_from(shared, 0)[0]
        if current != count or current % 2 == 0:
            count, waited, told, ended = current, 0.0, False, 0
        else:
            # In looks, since both may have been stopped meanwhile.
            waited += min(now - looked, 2 * period)
        looked = now
        if waited >= told_after and not told and (not limit or limit > told_after):
            told = True
            after = f"; after {limit:g} s it is ended (--env-timeout)" if limit else ""
            say(f"note: {place(shared)} has not come back for {waited:.0f} s. Ctrl-C ends this{after}.")
        if limit and waited >= limit and ended == 0:
            ended = 1
            STATE.pack_into(shared, 0, *with_expired(shared, count))
            os.kill(parent, SIGNAL)
        elif ended == 1 and waited >= limit + grace:
            ended = 2
            say(
                f"error: {place(shared)} has not come back for {limit:g} s (--env-timeout), and listens to nothing: "
                f"the process ends here. {rest(shared)}"
            )
            with contextlib.suppress(OSError):
                os.write(status, ENDED)
        elif ended == 2 and waited >= limit + 2 * grace:
            os.kill(parent, signal.SIGKILL)
            return


def with_expired(shared: mmap.mmap, count: int) -> tuple[int, ...]:
    current, step, _, length = STATE.unpack_from(shared, 0)
    return current, step, count, length


def place(shared: mmap.mmap) -> str:
    step = STATE.unpack_from(shared, 0)[1]
    when = {RESET: "its reset", CONSTRUCTION: "its construction"}.get(step, f"step {step}")
    return f"{texts(shared)[0]}: {when}"


def rest(shared: mmap.mmap) -> str:
    return texts(shared)[1]


def texts(shared: mmap.mmap) -> list[str]:
    length = STATE.unpack_from(shared, 0)[3]
    found = bytes(shared[STATE.size : STATE.size + length]).decode("ascii", "replace").split("\0")
    return [*found, "", ""][:2]


def say(text: str) -> None:
    with contextlib.suppress(OSError):
        print(text.rstrip(), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
