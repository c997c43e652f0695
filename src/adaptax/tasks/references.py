"""Objects of a user's own code by their names on the command line."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from adaptax.errors import AdaptaxError, told


def import_reference(reference: str) -> tuple[Any, str]:
    """What `MODULE:NAME` or `path/to/file.py:NAME` names, and that reference with the file's whole path.

    The current folder is looked in too. AdaptaxError where there is no such thing, or its module cannot be imported.
    """
    place, _, name = reference.rpartition(":")
    if not place or not name:
        raise AdaptaxError(
            f"'{reference}' names no object; write MODULE:NAME or path/to/file.py:NAME, as in my_tasks:MyTasks."
        )
    if place.endswith(".py"):
        place = str(Path(place).resolve())
        module = _import_file(Path(place))
    else:
        module = _import_module(place, Path.cwd())
    if not hasattr(module, name):
        own = [n for n, x in vars(module).items() if getattr(x, "__module__", None) == module.__name__]
        hint = f"it has {', '.join(own)}" if own else "it defines nothing"
        raise AdaptaxError(f"'{place}' has no '{name}' ({hint}); check the name after the colon.")
    return getattr(module, name), f"{place}:{name}"


def reference_to(cls: type) -> str:
    """How `import_reference` finds a class again: by its module, or by its file where that lies in another folder."""
    path = Path(getattr(sys.modules[cls.__module__], "__file__", None) or "").resolve()
    single_file = "." not in cls.__module__ and path.suffix == ".py" and path.name != "__init__.py"
    by_file = single_file and (cls.__module__ == "__main__" or path.parent != Path.cwd())
    return f"{path if by_file else cls.__module__}:{cls.__qualname__}"


def without_arguments(cls: type) -> Any:
    """An object of a user's class, made without arguments. AdaptaxError where that fails."""
    try:
        return cls()
    except Exception as error:
        raise AdaptaxError(
            f"{cls.__name__}() could not be created without arguments ({told(error)}); "
            "give its __init__ defaults, or pass an object of it."
        ) from error


def _import_file(path: Path) -> ModuleType:
    """Imports a file as the module of its name, so that its classes can be pickled for the workers."""
    if not path.is_file():
        raise AdaptaxError(f"There is no file {path}; check the part before the colon.")
    module = _import_module(path.stem, path.parent)
    if Path(getattr(module, "__file__", None) or "").resolve() != path:
        raise AdaptaxError(
            f"Another module is called '{path.stem}' too; give the file {path} a name of its own."
        )
    return module


def _import_module(name: str, folder: Path) -> ModuleType:
    """Imports a module that may lie in `folder`."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))  # worker processes are given it too
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
            raise AdaptaxError(
                f"'{name}' could not be imported, for it needs '{error.name}'; install that."
            ) from error
        raise AdaptaxError(
            f"There is no module '{name}'; run from the folder that holds it, or give the path of the file."
        ) from None
    except Exception as error:
        raise AdaptaxError(f"'{name}' could not be imported: {told(error)}.") from error
