"""The command line. `adaptax --help` lists the commands, `adaptax COMMAND --help` says what one can do.

Exit codes: 0 done; 1 interrupted, or a check that failed; 2 something in what was given is wrong (one sentence says what).
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Sequence

from adaptax import __version__
from adaptax.cli.arguments import parse, show_error
from adaptax.errors import AdaptaxError, near

# A command is a frozen dataclass: its fields are flags, the docstrings under them their description, and `execute` does
# what it is for and returns the exit code (None: 0). It is imported when called: `adaptax --help` needs none of JAX.
COMMANDS: dict[str, tuple[str, str]] = {
    "list": ("listing:List", "algorithms and task families"),
    "train": ("train:train_command", "meta-train an algorithm on a task family"),
    "resume": ("train:Resume", "go on with an interrupted run, or train one for longer"),
    "evaluate": ("evaluate:Evaluate", "meet unseen tasks with a trained learner"),
    "compare": ("compare:Compare", "one table of several learners on the same unseen tasks"),
    "report": ("report:Report", "write report.html: learning curve, adaptation, table, settings"),
    "adapt": ("adapt:Adapt", "take a trained learner to your own Gymnasium environment"),
    "new-family": ("new_family:NewFamily", "write a commented template of your own task family"),
    "check-family": ("check_family:CheckFamily", "check your family against the contract"),
    "search": ("search:search_command", "search the architecture that adapts best over a family"),
    "reproduce": ("reproduce:Reproduce", "list and run the figures that this library reproduces"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command (None: that of the process) and returns its exit code."""
    args = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks ✓ shows ?
    try:
        code = _run(args)
        sys.stdout.flush()
        return code
    except SystemExit as done:  # --help
        return done.code if isinstance(done.code, int) else 0
    except AdaptaxError as error:
        return show_error(str(error), "--json" in args)
    except BrokenPipeError:
        # Whoever read the output has gone; what is left in the buffer must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.filename is None:
            raise
        return show_error(
            f"{error.filename}: {error.strerror}; check the path and its permissions.", "--json" in args
        )
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 1


def _run(args: list[str]) -> int:
    if not args or args[0] in ("-h", "--help"):
        print(_help())
        return 0 if args else 2
    name, rest = args[0], args[1:]
    if name == "--version":
        print(__version__)
        return 0
    if name not in COMMANDS:
        raise AdaptaxError(
            f"There is no command '{name}'; {near(name, COMMANDS)}`adaptax --help` lists them."
        )
    module, _, attribute = COMMANDS[name][0].partition(":")
    with _starting():
        command = getattr(importlib.import_module(f"adaptax.cli.{module}"), attribute)
    ready = parse(command, rest, f"adaptax {name}") if isinstance(command, type) else command(rest)
    return ready.execute() or 0


@contextlib.contextmanager
def _starting():
    """Says on a terminal that something happens while JAX is imported."""
    shown = sys.stderr.isatty()
    if shown:
        print("starting ...", end="\r", file=sys.stderr, flush=True)
    yield
    if shown:
        print("\033[K", end="\r", file=sys.stderr, flush=True)


def _help() -> str:
    lines = [f"  {name:<13} {summary}" for name, (_, summary) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: adaptax COMMAND ...",
            "",
            "Meta-reinforcement learning: meta-train a learner, meet a new task, adapt, evaluate, report.",
            "",
            *lines,
            "",
            "`adaptax COMMAND --help` describes every flag; `adaptax --version` prints the version.",
        ]
    )
