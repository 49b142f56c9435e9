"""The one exception of a learner that cannot be built as asked."""


class LearnerError(ValueError):
    """An unknown algorithm, a knob out of range, or spaces that the algorithm cannot serve.

    The message names the knob or space, what was found, what was expected and the remedy.
    """
