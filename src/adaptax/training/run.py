"""A run is a folder: its configuration, its metrics, its checkpoints, its evaluations.

config.json       everything needed to repeat it
metrics.jsonl     a line per meta-update
checkpoints/      the newest two
evaluation/       what `evaluate` found
report.html
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

import equinox as eqx
import jax

from adaptax.algorithms import registry as algorithms
from adaptax.algorithms.base import Algorithm, Config
from adaptax.checkpoint import load_checkpoint, save_checkpoint, write_atomically
from adaptax.chunks import CACHE_FLOATS
from adaptax.collection.agent import Agent
from adaptax.collection.predictor import Predictor
from adaptax.errors import AdaptaxError
from adaptax.tasks import registry as families
from adaptax.tasks.base import AnyFamily, SupervisedFamily
from adaptax.types import Box, Candidates, Discrete, MultiDiscrete, Spec, TrainState

FORMAT = "adaptax-run-1"
KEPT_CHECKPOINTS = 2


@dataclasses.dataclass
class Run:
    """A learner, trained so far: what `ax.train` returns and `ax.load` reads back."""

    algorithm_name: str
    config: Config
    spec: Spec
    family_record: dict[str, Any]
    """How the family is made again: see `tasks.registry.describe`."""
    seed: int
    state: TrainState
    directory: Path | None = None
    """None: nothing is written."""
    env_steps: int = 0
    """Environment steps that meta-training has taken."""
    seconds: float = 0.0
    """Seconds that meta-training has taken, compilation apart."""
    _family: AnyFamily | None = None
    _algorithm: Algorithm | None = None

    def __repr__(self) -> str:
        where = f" in {self.directory}" if self.directory else ""
        return f"Run({self.label}, seed {self.seed}, {self.updates} meta-updates{where})"

    @property
    def algorithm(self) -> Algorithm:
        if self._algorithm is None:
            self._algorithm = self.config.build(self.spec)
        return self._algorithm

    @property
    def family(self) -> AnyFamily:
        """The task family it was trained on, made again from its record where the run was loaded."""
        if self._family is None:
            self._family = families.rebuild(self.family_record)
        return self._family

    @property
    def label(self) -> str:
        return f"{self.algorithm_name} on {self.spec.name}"

    @property
    def updates(self) -> int:
        return int(self.state.updates)

    def begin(self, seed: int = 0, episodes: int | None = None) -> Agent:
        """A new task: an agent that knows nothing of it yet, numpy in and numpy out.

        `episodes`: about how many it will play, where they are few: a learner that adapts after so many then adapts earlier.
        None: the algorithm's habit. It may go on after them.
        """
        if episodes is not None and episodes < 1:
            raise AdaptaxError(f"episodes must be 1 or more, not {episodes}.")
        if self.spec.supervised:
            raise AdaptaxError(
                f"The tasks of '{self.spec.name}' are labelled examples; call run.fit(x, y) instead of run.begin()."
            )
        layout = self.algorithm.test_layout(episodes)
        return Agent(self.algorithm.learner, layout, self.spec, self.state.theta, seed)

    def fit(self, x: Any, y: Any, adaptations: int | None = None, seed: int = 0) -> Predictor:
        """A new supervised task: a predictor that has adapted to the labelled examples x[n, ...], y[n] or y[n, d].

        `adaptations`: how often it adapts to them all (None: the algorithm's habit). AdaptaxError where shapes do not fit.
        """
        family = self.family
        if not isinstance(family, SupervisedFamily):
            raise AdaptaxError(
                f"The tasks of '{self.spec.name}' are environments; call run.begin() instead of run.fit(x, y)."
            )
        if adaptations is not None and (not isinstance(adaptations, int) or adaptations < 0):
            raise AdaptaxError(f"adaptations must be a whole number from 0, not {adaptations}.")
        rounds = self.algorithm.test_layout(adaptations).rounds
        return Predictor(self.algorithm.learner, self.spec, self.state.theta, family, x, y, rounds - 1, seed)

    def metrics(self) -> list[dict[str, int | float]]:
        """The rows of metrics.jsonl."""
        return read_metrics(self.directory) if self.directory else []

    # --- the folder ---

    def write_config(self) -> None:
        """Writes config.json."""
        assert self.directory is not None
        record = {
            "format": FORMAT,
            "algorithm": self.algorithm_name,
            "hyperparameters": dataclasses.asdict(self.config),  # type: ignore[call-overload]
            "family": self.family_record,
            "spec": _spec_to_json(self.spec),
            "seed": self.seed,
            **circumstances(),
        }
        write_atomically(self.directory / "config.json", json.dumps(record, indent=2).encode())

    def save(self, target: int) -> None:
        """Writes a checkpoint of a run that is to reach `target` meta-updates, and removes all but the newest two."""
        assert self.directory is not None
        folder = self.directory / "checkpoints"
        facts = {"target": target, "env_steps": self.env_steps, "seconds": self.seconds}
        save_checkpoint(folder / f"{self.updates:09d}.safetensors", self.state, facts)
        for old in sorted(folder.glob("*.safetensors"))[:-KEPT_CHECKPOINTS]:
            old.unlink(missing_ok=True)


def circumstances() -> dict[str, Any]:
    """What the bits of a result depend on, beside the configuration and the seed."""
    names = ("adaptax", "jax", "jaxlib", "equinox", "optax", "numpy")
    return {
        "versions": {name: importlib.metadata.version(name) for name in names},
        "python": platform.python_version(),
        "device": f"{jax.devices()[0].device_kind} × {jax.device_count()} ({platform.machine()})",
        "chunks": "whole" if jax.default_backend() != "cpu" else f"{CACHE_FLOATS} floats",
    }


def changed_circumstances(directory: Path) -> list[str]:
    """What is not as it was when the run began, so that its continuation may differ in the last bits: "jax 0.10.1 -> 0.10.2"."""

    def flat(record: dict[str, Any]) -> dict[str, str]:
        return {**record.get("versions", {}), **{key: record.get(key, "?") for key in ("device", "chunks")}}

    then, now = flat(read_record(directory)), flat(circumstances())
    return [
        f"{name} {then.get(name, '?')} -> {value}" for name, value in now.items() if then.get(name) != value
    ]


def load_run(directory: Path | str, family: AnyFamily | None = None) -> tuple[Run, int]:
    """The run in a folder, at its newest checkpoint, and the number of meta-updates that it is to reach.

    `family` replaces the recorded one, for families that were defined in a script and cannot be imported.
    Raises AdaptaxError where the folder holds no run, or a damaged one.
    """
    directory = Path(directory)
    record = read_record(directory)
    families.check_same(record["family"], family, directory)
    try:
        config = algorithms.config_from(record["algorithm"], record["hyperparameters"])
        spec = _spec_from_json(record["spec"])
        algorithm = config.build(spec)
        like = eqx.filter_eval_shape(algorithm.init, jax.random.key(0))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AdaptaxError(
            f"{directory / 'config.json'} was changed by hand, and no run can be made from it ({error!r}); restore it."
        ) from error
    checkpoints = sorted((directory / "checkpoints").glob("*.safetensors"))
    if not checkpoints:
        raise AdaptaxError(
            f"{directory} has no checkpoint yet: its training stopped before the first; train it again."
        )
    state, facts = load_checkpoint(checkpoints[-1], like)
    run = Run(
        record["algorithm"], config, spec, record["family"], record["seed"], state, directory,
        facts["env_steps"], facts["seconds"], family, algorithm,
    )  # fmt: skip
    return run, facts["target"]


def read_record(directory: Path) -> dict[str, Any]:
    """config.json of a run, checked."""
    path = directory / "config.json"
    if not path.is_file():
        raise AdaptaxError(
            f"{directory} holds no run (no config.json); name a folder that `adaptax train` wrote."
        )
    try:
        record = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise AdaptaxError(f"{path} cannot be read ({error}); restore it or train again.") from None
    wanted = {"algorithm", "hyperparameters", "family", "spec", "seed"}
    whole = isinstance(record, dict) and record.get("format") == FORMAT and wanted <= set(record)
    if not whole or not isinstance(record["seed"], int) or not isinstance(record["algorithm"], str):
        raise AdaptaxError(f"{path} is not the configuration of a run of this version; nothing was loaded.")
    return record


def read_metrics(directory: Path) -> list[dict[str, int | float]]:
    """The rows of metrics.jsonl, up to the first line that is none: a crash may have cut it off."""
    path = directory / "metrics.jsonl"
    rows: list[dict[str, int | float]] = []
    if path.is_file():
        for line in path.read_text().splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                break
            if not (isinstance(row, dict) and isinstance(row.get("update"), int)):
                break
            rows.append(row)
    return rows


def run_folders(directory: Path | str) -> list[Path]:
    """The folders of all seeds of a run: itself, or its `seed-*` subfolders."""
    directory = Path(directory)
    if (directory / "config.json").is_file():
        return [directory]
    seeds = sorted(directory.glob("seed-*/config.json"), key=lambda p: int(p.parent.name[5:]))
    if not seeds:
        read_record(directory)  # says what is wrong with it
    return [path.parent for path in seeds]


_SPACES = {"candidates": Candidates, "discrete": Discrete, "multi_discrete": MultiDiscrete, "box": Box}


def _spec_to_json(spec: Spec) -> dict[str, Any]:
    kind = next(name for name, cls in _SPACES.items() if isinstance(spec.action, cls))
    record = dataclasses.asdict(spec)
    if isinstance(spec.action, Box):  # JSON has no infinity
        record["action"] = {k: [repr(x) for x in v] for k, v in record["action"].items()}
    return record | {"action": {"kind": kind} | record["action"]}


def _spec_from_json(record: dict[str, Any]) -> Spec:
    action = dict(record["action"])
    kind = action.pop("kind")
    if kind == "box":
        action = {k: tuple(float(x) for x in v) for k, v in action.items()}
    elif kind == "multi_discrete":
        action = {"choices": tuple(action["choices"])}
    return Spec(**(record | {"observation": tuple(record["observation"]), "action": _SPACES[kind](**action)}))
