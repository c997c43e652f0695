"""The one exception that means: the input is wrong, and its reader can mend it."""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable
from pathlib import Path


class AdaptaxError(Exception):
    """A mistake in what was given, told in one sentence that says what is wrong and what to do.

    The command line prints the sentence and leaves with exit code 2; nothing else of the library is
    caught there, so an ordinary bug still shows its traceback.
    """


def short(value: object) -> str:
    """`repr`, cut to a length that fits a sentence."""
    text = repr(value)
    return text if len(text) <= 200 else text[:200] + "…"


def told(error: BaseException) -> str:
    """What an exception of the user's code says and where it was raised, to be part of a sentence."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error}, in {Path(where.filename).name} line {where.lineno}"


def near(name: str, names: Iterable[str]) -> str:
    """ "did you mean '...'? " where one of the names is near to a wrong one, else nothing."""
    found = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f"did you mean '{found[0]}'? " if found else ""
