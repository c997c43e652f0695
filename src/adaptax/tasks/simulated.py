"""What families of the library share whose environments are made in worker processes by other packages."""

from __future__ import annotations

import functools
import importlib
from typing import Any, ClassVar

from adaptax.errors import AdaptaxError
from adaptax.tasks.base import HostFamily
from adaptax.types import Box


class SimulatedFamily(HostFamily):
    """A family with real actions whose `spec` is known without the package that simulates it."""

    extra: ClassVar[str]
    """Of this package, which brings the simulator."""
    packages: ClassVar[tuple[str, ...]]
    """What must be importable, beside Gymnasium."""
    success_key: ClassVar[str | None] = None
    """The entry of `info` that tells of success."""

    @property
    def environments(self) -> Any:
        """What makes an environment of a task in a worker: picklable, with `make(task)`, of a module that imports no JAX."""
        raise NotImplementedError

    @functools.cached_property
    def maker(self):  # type: ignore[override]
        """AdaptaxError where the simulator is not installed."""
        for package in ("gymnasium", *self.packages):
            try:
                importlib.import_module(package)
            except ModuleNotFoundError as error:
                if error.name != package:
                    raise
                raise AdaptaxError(
                    f"The package {package} is not installed; run: pip install 'adaptax[{self.extra}]'."
                ) from None
        from adaptax.tasks.gymnasium_env import EnvMaker, FlatSpaces

        action = self.spec.action
        assert isinstance(action, Box)
        [size] = self.spec.observation
        return EnvMaker(
            self.environments, FlatSpaces(size, False, (), action.low, action.high), self.success_key
        )
