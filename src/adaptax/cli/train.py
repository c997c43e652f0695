"""`adaptax train` and `adaptax resume`."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import equinox as eqx
from tyro.conf import Positional, arg

from adaptax.algorithms import registry as algorithms
from adaptax.algorithms.base import Config
from adaptax.cli.arguments import parse
from adaptax.cli.output import progress
from adaptax.errors import AdaptaxError
from adaptax.tasks import registry as families
from adaptax.tasks.base import AnyFamily
from adaptax.training.run import Run, load_run, run_folders
from adaptax.training.train import resume, train
from adaptax.types import Spec

O = TypeVar("O")


@dataclasses.dataclass(frozen=True)
class Options:
    """Meta-trains an algorithm on a task family.

    `adaptax train ALGORITHM FAMILY --help` shows the hyperparameters of the one and the fields of the other too.
    """

    algorithm: Annotated[Positional[str], arg(metavar="ALGORITHM")]
    """Its name: `adaptax list` shows them."""
    reference: Annotated[Positional[str], arg(metavar="FAMILY")]
    """NAME, gymnasium:MODULE:CLASS or jax:MODULE:CLASS."""
    run: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")] = None
    """Folder to write; default: runs/ALGORITHM-FAMILY-seedS, or runs/ALGORITHM-FAMILY/seed-S for several seeds."""
    seed: Annotated[int, arg(metavar="S")] = 0
    """Where all random numbers come from."""
    seeds: Annotated[str | None, arg(metavar="0-4", help_behavior_hint="")] = None
    """Several seeds, one after another: 0-4 or 0,2,5."""
    updates: Annotated[int | None, arg(metavar="U", help_behavior_hint="")] = None
    """Meta-updates; default: what the algorithm needs on a small family."""
    preset: Literal["default", "paper"] = "default"
    """Hyperparameters to start from: what two CPU cores can run, or the paper's."""

    def folders(self, family: str) -> dict[int, Path]:
        """The folder of each seed."""
        name = Path("runs") / f"{self.algorithm}-{family}"
        if self.seeds is None:
            return {self.seed: self.run or name.with_name(f"{name.name}-seed{self.seed}")}
        return {seed: (self.run or name) / f"seed-{seed}" for seed in seed_list(self.seeds)}


@dataclasses.dataclass(frozen=True)
class Train:
    options: Options
    hyperparameters: Config
    family: AnyFamily

    def execute(self) -> int:
        options = self.options
        usual = algorithms.entry(options.algorithm).defaults(self.family.spec)[1]
        updates = usual if options.updates is None else options.updates
        folders = options.folders(self.family.spec.name)
        for i, (seed, folder) in enumerate(folders.items()):
            with progress() as report, _told_how_to_go_on(folder):
                run = train(
                    self.hyperparameters, self.family, updates, seed, folder, report, options.algorithm
                )
            if run.updates < updates:
                _say_interrupted(folder, run, updates)
                later = [str(s) for s in folders][i + 1 :]
                if later:
                    print(f"Not begun yet; train with: --seeds {','.join(later)}")
                return 1
            print(f"{run.label}, seed {seed}: {run.updates} meta-updates in {folder}")
        place = folder.parent if options.seeds else folder
        print(f"Next: adaptax evaluate {place}   or: adaptax report {place}")
        return 0


def train_command(args: Sequence[str]) -> Train:
    """The command that the arguments describe."""
    return Train(*learner_arguments(Options, args, "adaptax train", "Meta-trains"))


def learner_arguments(
    options: type[O], args: Sequence[str], prog: str, does: str
) -> tuple[O, Config, AnyFamily]:
    """A command's own options, the learner's hyperparameters and the family that the arguments describe.

    The flags depend on the algorithm and the family, which come first; `does` begins their description. AdaptaxError where there
    are none such, or a flag has no effect.
    """
    if len(args) < 2 or args[0].startswith("-") or args[1].startswith("-"):
        parse(options, args, prog)  # shows the help, or says what is missing
        raise AdaptaxError(f"ALGORITHM and FAMILY come first: {prog} ALGORITHM FAMILY --updates 100 ...")
    algorithms.entry(args[0])  # a wrong name is told before a wrong family
    family = families.make_family(args[1])
    config = _config(args[0], family.spec, args)
    unprefixed = arg(name="")
    fields: list[Any] = [
        ("options", Annotated[options, unprefixed]),
        ("hyperparameters", Annotated[type(config), unprefixed], config),
    ]
    if dataclasses.is_dataclass(family):
        fields.append(("family", type(family), family))
    flags = dataclasses.make_dataclass("Flags", fields, frozen=True)
    flags.__doc__ = f"{does} {args[0]} ({algorithms.entry(args[0]).summary}) on {family.spec.name}."
    found = parse(flags, args, prog, pairs=True)
    family = getattr(found, "family", family)
    _require_effect(found.hyperparameters, config, family.spec)
    return found.options, found.hyperparameters, family


def _require_effect(chosen: Config, usual: Config, spec: Spec) -> None:
    """AdaptaxError where a hyperparameter was given that labelled examples leave unread, such as PPO's."""
    if not spec.supervised:
        return
    algorithm = chosen.build(spec)
    for field in dataclasses.fields(chosen):  # type: ignore[arg-type]
        value = getattr(usual, field.name)
        without = dataclasses.replace(chosen, **{field.name: value})  # type: ignore[type-var]
        if getattr(chosen, field.name) != value and bool(eqx.tree_equal(algorithm, without.build(spec))):
            flag = field.name.replace("_", "-")
            raise AdaptaxError(
                f"--{flag} has no effect on {spec.name}, whose tasks are labelled examples; leave it out."
            )


def _config(name: str, spec: Spec, args: Sequence[str]) -> Config:
    """The hyperparameters of the preset that the arguments name."""
    entry = algorithms.entry(name)
    default, of_paper = entry.defaults(spec)[0], entry.papers(spec)
    paper = "--preset=paper" in args or ("--preset", "paper") in itertools.pairwise(args)
    if paper and of_paper is None:
        on = f" for {spec.name}" if entry.paper or entry.paper_supervised else ""
        raise AdaptaxError(f"'{name}' has no preset 'paper'{on}; leave --preset out.")
    return of_paper if paper and of_paper else default


def seed_list(text: str) -> list[int]:
    """ "0-4" -> [0, 1, 2, 3, 4], "0,2,5" -> [0, 2, 5]."""
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise AdaptaxError(f"--seeds {text} names no seeds; write 0-4 or 0,2,5.")
        seeds += range(int(match[1]), int(match[2] or match[1]) + 1)
    return list(dict.fromkeys(seeds))


@dataclasses.dataclass(frozen=True)
class Resume:
    """Goes on with an interrupted run, bit for bit as if it had not been interrupted; or trains a finished one for longer."""

    directory: Annotated[Positional[Path], arg(metavar="DIR")]
    """What `adaptax train` wrote; every seed in it."""
    updates: Annotated[int | None, arg(metavar="U", help_behavior_hint="")] = None
    """Meta-updates in all; default: as many as it was started for."""

    def execute(self) -> int:
        for folder in run_folders(self.directory):
            run, target = load_run(folder)
            target = target if self.updates is None else self.updates
            if run.updates >= target:
                print(f"{folder} has {run.updates} meta-updates already; ask for more with --updates.")
                continue
            with progress() as report, _told_how_to_go_on(folder):
                run = resume(folder, target, report=report)
            if run.updates < target:
                _say_interrupted(folder, run, target)
                return 1
            print(f"{run.label}, seed {run.seed}: {run.updates} meta-updates in {folder}")
        return 0


@contextlib.contextmanager
def _told_how_to_go_on(folder: Path) -> Iterator[None]:
    """Where a second Ctrl-C ends the training at once."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"What was finished is saved. Go on with: adaptax resume {folder}")
        raise


def _say_interrupted(folder: Path, run: Run, target: int) -> None:
    if run.updates == 0:
        print(f"Interrupted before the first of {target} meta-updates.")
    else:
        print(f"Interrupted after {run.updates} of {target} meta-updates; all of them are saved.")
    print(f"Go on with: adaptax resume {folder}")
