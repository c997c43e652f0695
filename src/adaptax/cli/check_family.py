"""`adaptax check-family`."""

from __future__ import annotations

import dataclasses
import inspect
import traceback
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from adaptax.cli.checks import Checks
from adaptax.cli.checks_gymnasium import GymnasiumChecks
from adaptax.cli.checks_jax import JaxChecks
from adaptax.cli.checks_supervised import SupervisedChecks
from adaptax.errors import AdaptaxError
from adaptax.tasks.base import HostFamily, SupervisedFamily, TaskFamily
from adaptax.tasks.gymnasium import GymnasiumFamily
from adaptax.tasks.references import import_reference, reference_to
from adaptax.tasks.registry import ENTRIES, make_family


@dataclasses.dataclass(frozen=True)
class CheckFamily:
    """Checks a task family of your own against the contract, item by item: what is wrong, and how to mend it."""

    reference: Annotated[Positional[str], arg(metavar="MODULE:CLASS")]
    """The class; path/to/file.py:CLASS does too, and so does the name of a family of the library."""

    def execute(self) -> int:
        reference = self.reference.removeprefix("gymnasium:").removeprefix("jax:")
        if reference in ENTRIES:
            reference = reference_to(ENTRIES[reference].cls)
        found, _ = import_reference(reference)
        cls = found if inspect.isclass(found) else type(found)
        try:
            checks = make_checks(cls, reference)
        except AdaptaxError as error:
            print(f"✗ {cls.__name__} can be made, and so can an environment of it\n    {error}")
            return 1
        failed = 0
        for promise, check in checks.items():
            try:
                print(f"✓ {promise}: {check()}", flush=True)
            except Exception as error:
                print(f"✗ {promise}\n    {explain(error, cls)}", flush=True)
                failed += 1
        print(
            f"{failed} of {len(checks.items())} checks failed."
            if failed
            else f"{cls.__name__} is ready to be trained on."
        )
        return 1 if failed else 0


def make_checks(cls: type, reference: str) -> Checks:
    """The checks for a class of either kind."""
    if issubclass(cls, SupervisedFamily):
        supervised = make_family(f"jax:{reference}")
        assert isinstance(supervised, SupervisedFamily)
        return SupervisedChecks(supervised)
    if issubclass(cls, TaskFamily):
        family = make_family(f"jax:{reference}")
        assert isinstance(family, TaskFamily)
        return JaxChecks(family)
    family = cls() if issubclass(cls, HostFamily) else GymnasiumFamily.from_reference(reference)
    return GymnasiumChecks(family)


def explain(error: Exception, cls: type) -> str:
    """What went wrong, and in which line of the user's file."""
    if isinstance(error, AdaptaxError):
        return str(error)
    file = inspect.getsourcefile(cls)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    where = f" ({Path(file).name} line {lines[-1]})" if file and lines else ""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}{where}"
