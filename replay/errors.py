"""The one exception of bad data."""


class DataError(ValueError):
    """Data that cannot be used as asked.

    The message names the file or field, says what was found and what was expected, and ends with
    the remedy; the command line prints it as it is, without a traceback.
    """
