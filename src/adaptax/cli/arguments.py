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


def parse(command: type[C], args: Sequence[str], prog: str, pairs: bool = False) -> C:
    """The command that the arguments describe. AdaptaxError where they describe none; SystemExit after `--help`.

    `pairs`: what is on or off has two flags, --double and --no-double, under one description.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            config = () if pairs else (tyro.conf.FlagCreatePairsOff,)
            return tyro.cli(command, prog=prog, args=args, config=config)
    except SystemExit as done:
        if not done.code:
            raise
        raise AdaptaxError(f"{sentence(said.getvalue())} See `{prog} --help`.") from None


def sentence(box: str) -> str:
    """What a framed error message of tyro says, without its frame and the help that it repeats."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()
    plain = plain[1:-1] if box.lstrip().startswith("╭") else plain[2:]  # a frame, or a title and a rule
    parts: list[list[str]] = [[]]
    for line in (line[2:].rstrip(" │") for line in plain):
        if line and not line.strip("─- "):
            parts.append([])
        elif line:
            parts[-1].append(line)
    if parts[0][0].startswith("Missing from"):
        return f"Missing: {', '.join(line.strip() for line in parts[0] if re.match(r' {4}[^ ]', line))}."
    text = plainly(re.sub(r"\s+([.,])", r"\1", " ".join(parts[0])).rstrip("."))
    hints = [line.split()[0].rstrip(",") for part in parts[1:] for line in part if line.startswith("    --")]
    meant = parts[1][0].startswith("Perhaps you meant") and hints
    return f"{text}; did you mean {' or '.join(hints)}?" if meant else f"{text}."


def plainly(fault: str) -> str:
    """tyro's words about a value that cannot be read or a flag that does not exist, in ours."""
    kinds = {"invalid literal for int": "whole number", "could not convert string to float": "number"}
    value = re.match(
        r"Error parsing (--\S+): .*?(invalid literal for int|could not convert string to float).*?'([^']*)'$",
        fault,
    )
    if value is not None:
        return f"{value[1]} takes a {kinds[value[2]]}, not '{value[3]}'"
    if fault.startswith("Unrecognized options: "):
        flags = [
            word for word in fault.removeprefix("Unrecognized options: ").split(", ") if word.startswith("--")
        ]
        return f"Unrecognized options: {', '.join(flags)}" if flags else fault
    return fault


def show_error(message: str, as_json: bool) -> int:
    """Prints what is wrong in the user's input, and returns the exit code for it."""
    print(f"adaptax: {message}", file=sys.stderr)
    if as_json:
        print(json.dumps({"error": message}))
    return 2
