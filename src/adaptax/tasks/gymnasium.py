"""Any user's family of Gymnasium environments.

The user writes a class with two methods; everything else is optional:

    class MyTasks:
        episode_steps = 200                            # the longest episode; default: the environment's own limit
        episodes = 2                                   # episodes in a lifetime of learners that remember
        name = "my-tasks"                              # in tables and reports
        splits = ("train", "test", "ood")              # what `sample` knows; default: train and test
        shared_tasks = False                           # True where train and test are the same tasks
        success_key = "is_success"                     # the entry of `info` that tells of success
        workers = None                                 # worker processes; None: one per core; 0: none, in this process
        timeout_seconds = 60.0                         # the longest that one reset or step may take

        def sample(self, rng, split): ...              # a task: any picklable value; rng is a numpy Generator
        def make(self, task): ...                      # its gymnasium.Env
        def features(self, task): ...                  # the task in numbers, for the oracle
        def optimal(self, task): ...                   # the best expected return of an episode
"""

from __future__ import annotations

import inspect
import re
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptax.errors import AdaptaxError, told
from adaptax.tasks.base import SPLITS, HostFamily, Split
from adaptax.tasks.references import import_reference, reference_to, without_arguments
from adaptax.types import Box, Discrete, MultiDiscrete, Space, Spec, Task

if TYPE_CHECKING:
    import gymnasium

    from adaptax.tasks.gymnasium_env import FlatSpaces


class GymnasiumFamily(HostFamily):
    """A user's class with `sample` and `make` as a task family.

    An environment of one training task is made at once, to learn the spaces. Raises AdaptaxError, in one sentence, for
    whatever the class lacks.
    """

    def __init__(self, tasks: Any, reference: str | None = None):
        """`tasks`: the user's class or an object of it. `reference`: how `from_reference` finds it again."""
        adapter = adapter_module()
        self.tasks = _instance(tasks)
        self.reference = reference or reference_to(type(self.tasks))
        self._splits = _splits(self.tasks)
        success_key = getattr(self.tasks, "success_key", None)
        self.reports_success = success_key is not None
        self.workers = getattr(self.tasks, "workers", None)
        self.timeout_seconds = getattr(self.tasks, "timeout_seconds", HostFamily.timeout_seconds)
        _check_signatures(self.tasks)
        task = self.sample(np.random.default_rng(0), "train")
        env = _calling(self.tasks, "make", adapter.EnvMaker(self.tasks, None, success_key), task)
        _calling(self.tasks, "reset() of an environment", env.reset, 0)
        spaces = adapter.flat_spaces(env.env)
        self.maker = adapter.EnvMaker(self.tasks, spaces, success_key)
        features = self.features(task)
        self._spec = Spec(
            name=getattr(self.tasks, "name", None) or _kebab(type(self.tasks).__name__),
            observation=(spaces.observation,),
            action=action_space(spaces),
            episode_steps=_episode_steps(self.tasks, env.env),
            episodes=_positive(self.tasks, "episodes", getattr(self.tasks, "episodes", 2)),
            features=0 if features is None else len(features),
            shared_tasks=bool(getattr(self.tasks, "shared_tasks", False)),
            ood="ood" in self._splits,
        )
        env.close()

    @staticmethod
    def from_reference(reference: str) -> GymnasiumFamily:
        """The family that `MODULE:CLASS` or `path/to/file.py:CLASS` names; the current folder is looked in too."""
        tasks, reference = import_reference(reference)
        return GymnasiumFamily(tasks, reference)

    @property
    def spec(self) -> Spec:
        return self._spec

    def sample(self, rng: np.random.Generator, split: Split) -> Task:
        if split not in self._splits:
            raise AdaptaxError(
                f"{type(self.tasks).__name__} has no split '{split}', only {', '.join(self._splits)}; "
                "name it in the class attribute `splits` once sample() knows it."
            )
        return _calling(self.tasks, "sample", self.tasks.sample, rng, split)

    def features(self, task: Task) -> np.ndarray | None:
        if not hasattr(self.tasks, "features"):
            return None
        values = np.asarray(_calling(self.tasks, "features", self.tasks.features, task), np.float32)
        if values.ndim != 1 or not np.isfinite(values).all():
            raise AdaptaxError(
                f"features(task) of {type(self.tasks).__name__} must return a vector of finite numbers, not {values}."
            )
        return values

    def optimal(self, task: Task) -> float | None:
        if not hasattr(self.tasks, "optimal"):
            return None
        return float(_calling(self.tasks, "optimal", self.tasks.optimal, task))


def adapter_module() -> ModuleType:
    """The module that knows Gymnasium, which is an extra."""
    try:
        from adaptax.tasks import gymnasium_env
    except ModuleNotFoundError as error:
        if error.name != "gymnasium":
            raise
        raise AdaptaxError("Gymnasium is not installed; run: pip install 'adaptax[gymnasium]'.") from None
    return gymnasium_env


def _instance(tasks: Any) -> Any:
    cls = tasks if inspect.isclass(tasks) else type(tasks)
    missing = [method for method in ("sample", "make") if not hasattr(tasks, method)]
    if missing:
        raise AdaptaxError(
            f"{cls.__name__} is no family of environments, for it has no {' and no '.join(missing)}; "
            "write sample(self, rng, split) -> task and make(self, task) -> gymnasium.Env."
        )
    if cls is not tasks:
        return tasks
    return without_arguments(cls)


def _splits(tasks: Any) -> tuple[str, ...]:
    splits = tuple(getattr(tasks, "splits", ("train", "test")))
    if not {"train", "test"} <= set(splits) <= set(SPLITS):
        raise AdaptaxError(
            f"splits of {type(tasks).__name__} must be train and test, and ood where there is one, not {splits}."
        )
    return splits


def _check_signatures(tasks: Any) -> None:
    for method, arguments in (("sample", ("rng", "split")), ("make", ("task",))):
        try:
            inspect.signature(getattr(tasks, method)).bind(*arguments)
        except TypeError:
            raise AdaptaxError(
                f"{method} of {type(tasks).__name__} must take ({', '.join(arguments)}), "
                f"not {inspect.signature(getattr(tasks, method))}."
            ) from None


def _calling(tasks: Any, what: str, function: Any, *arguments: Any) -> Any:
    """`function(*arguments)`, a method of the user's; its failure becomes a sentence."""
    try:
        return function(*arguments)
    except AdaptaxError:
        raise
    except Exception as error:
        raise AdaptaxError(f"{what} of {type(tasks).__name__} failed: {told(error)}.") from error


def _episode_steps(tasks: Any, env: gymnasium.Env) -> int:
    steps = getattr(tasks, "episode_steps", None) or (env.spec and env.spec.max_episode_steps)
    if steps is None:
        raise AdaptaxError(
            f"How long the episodes of {type(tasks).__name__} last is not known; give the class an attribute "
            "episode_steps, the number of steps after which an episode is cut off."
        )
    return _positive(tasks, "episode_steps", steps)


def _positive(tasks: Any, name: str, value: Any) -> int:
    if not isinstance(value, int | np.integer) or value < 1:
        raise AdaptaxError(
            f"{name} of {type(tasks).__name__} must be a whole number of at least 1, not {value!r}."
        )
    return int(value)


def action_space(spaces: FlatSpaces) -> Space:
    """The space that the sizes of an environment's vectors stand for."""
    if spaces.scalar:
        return Discrete(spaces.choices[0])
    return MultiDiscrete(spaces.choices) if spaces.choices else Box(spaces.low, spaces.high)


def _kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()
