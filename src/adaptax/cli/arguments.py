"""From words on the command line to a command, and from what is wrong with them to one sentence."""

from __future__ import annotations

import contextlib
import difflib
import io
import json
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

import tyro

from adaptax.errors import AdaptaxError


class Command(Protocol):
    """A frozen dataclass whose fields are flags, described by the docstrings under them."""

    def execute(self) -> int | None:
        """Does what the command is for; its exit code (None: 0)."""
        ...


C = TypeVar("C")


def parse(command: type[C], args: Sequence[str], prog: str) -> C:
    """The command that the arguments describe. AdaptaxError where they describe none; SystemExit after `--help`."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(command, prog=prog, args=args)
    except SystemExit as done:
        if not done.code:
            raise
        raise AdaptaxError(f"{sentence(said.getvalue())} See `{prog} --help`.") from None


def sentence(box: str) -> str:
    """What a framed error message of tyro says, without its frame and the help that it repeats."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()
    inner = [line.strip().strip("│|").strip() for line in lines if not line.startswith(("╭", "╰", "+"))]
    parts: list[list[str]] = [[]]
    for line in inner:
        if line and not line.strip("─-"):
            parts.append([])
        elif line:
            parts[-1].append(line)
    text = " ".join(parts[0])
    text = re.sub(r"\s+([.,])", r"\1", text).rstrip(".")
    hints = [
        line for part in parts[1:] if part and part[0].startswith("Perhaps you meant") for line in part[1:]
    ]
    flags = [line.split()[0].rstrip(",") for line in hints if line.startswith("--")]
    return f"{text}; did you mean {' or '.join(flags)}?" if flags else f"{text}."


def near(name: str, names: Iterable[str]) -> str:
    """ "did you mean '...'? " where a name is near, else nothing."""
    found = difflib.get_close_matches(name, list(names), n=1)
    return f"did you mean '{found[0]}'? " if found else ""


def show_error(message: str, as_json: bool) -> int:
    """Prints what is wrong in the user's input, and returns the exit code for it."""
    print(f"adaptax: {message}", file=sys.stderr)
    if as_json:
        print(json.dumps({"error": message}))
    return 2
