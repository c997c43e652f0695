"""`adaptax new-family`."""

from __future__ import annotations

import dataclasses
import importlib.resources
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from adaptax.errors import AdaptaxError


@dataclasses.dataclass(frozen=True)
class NewFamily:
    """Writes a commented template of your own task family, which passes `check-family` and trains at once."""

    file: Annotated[Positional[Path], arg(metavar="FILE")]
    """The file to write, as in my_tasks.py."""
    jax: bool = False
    """A family that runs inside JAX, instead of one of Gymnasium environments: less freedom, far more speed."""

    def execute(self) -> None:
        if self.file.suffix != ".py" or not self.file.stem.isidentifier():
            raise AdaptaxError(f"{self.file} cannot be imported; give the file a name like my_tasks.py.")
        name = "jax_family.py" if self.jax else "gymnasium_family.py"
        text = (
            importlib.resources.files("adaptax.cli").joinpath("templates", name).read_text(encoding="utf-8")
        )
        place = self.file.stem if self.file.parent == Path() else str(self.file)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(self.file, "x", encoding="utf-8") as file:
                file.write(text.replace("THIS_FILE", place))
        except FileExistsError:
            raise AdaptaxError(f"{self.file} exists already; name another file.") from None
        print(f"Wrote {self.file}. Next:")
        print(f"  adaptax check-family {place}:MyTasks")
        print(f"  adaptax train rl2 {'jax' if self.jax else 'gymnasium'}:{place}:MyTasks")
