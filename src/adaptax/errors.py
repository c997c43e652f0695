"""The one exception that means: the input is wrong, and its reader can mend it."""


class AdaptaxError(Exception):
    """A mistake in what was given, told in one sentence that says what is wrong and what to do.

    The command line prints the sentence and leaves with exit code 2; nothing else of the library is
    caught there, so an ordinary bug still shows its traceback.
    """
