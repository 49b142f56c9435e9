"""Errors of a run that cannot start or go on as asked."""


class RunError(RuntimeError):
    """A run folder, checkpoint, topology or option that does not fit.

    The message names the file or option, what was found, what was expected and the remedy.
    """


class DivergedError(RunError):
    """Numbers of the training became infinite, or none."""


class RayLostError(RunError):
    """Ray is gone, or a part of it without which this process cannot use the rest: only another process can go on."""
