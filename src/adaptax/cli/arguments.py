"""From words on the command line to a command, and from what is wrong with them to one sentence."""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
from collections.abc import Sequence
from typing import TypeVar

import tyro

from adaptax.errors import AdaptaxError

C = TypeVar("C")


def parse(command: type[C], args: Sequence[str], prog: str) -> C:
    """The command that the arguments describe. AdaptaxError where they describe none; SystemExit after `--help`."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(command, prog=prog, args=args, config=(tyro.conf.FlagCreatePairsOff,))
    except SystemExit as done:
        if not done.code:
            raise
        raise AdaptaxError(f"{sentence(said.getvalue())} See `{prog} --help`.") from None


def sentence(box: str) -> str:
    """What a framed error message of tyro says, without its frame and the help that it repeats."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()
    lines = [line.strip("│| ") if line.strip("│|─- ") else "" for line in plain if line[:1] in "│|"]
    first, *others = [part.split("\n") for part in "\n".join(lines).split("\n\n")]
    if first[0].startswith("Missing from"):
        names = [
            line[1:].strip("│| ") for line in plain if re.match(r"[│|] {5}\S", line) and "adaptax" not in line
        ]
        return f"Missing: {', '.join(names)}."
    text = re.sub(r"\s+([.,])", r"\1", " ".join(first)).rstrip(".")
    hints = [line for part in others if part[0].startswith("Perhaps you meant") for line in part]
    flags = [line.split()[0].rstrip(",") for line in hints if line.startswith("--")]
    return f"{text}; did you mean {' or '.join(flags)}?" if flags else f"{text}."


def show_error(message: str, as_json: bool) -> int:
    """Prints what is wrong in the user's input, and returns the exit code for it."""
    print(f"adaptax: {message}", file=sys.stderr)
    if as_json:
        print(json.dumps({"error": message}))
    return 2
