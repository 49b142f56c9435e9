"""The one exception of environments that cannot be used as asked."""


class EnvError(ValueError):
    """An environment, policy or controller that cannot be used as asked.

    The message names what was found and what was expected, and ends with the remedy; the command
    line prints it as it is, without a traceback.
    """
