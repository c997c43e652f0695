"""Imports only go down the floors of the library, and algorithms never import one another."""

from __future__ import annotations

import ast
from collections.abc import Collection
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "adaptax"

FLOORS = [
    {
        "types",
        "keys",
        "trees",
        "statistics",
        "errors",
        "learner",
        "chunks",
        "checkpoint",
        "buffers",
        "disk_reservoir",
    },
    {
        "networks",
        "estimators",
        "tasks",
        "reports",
    },  # reports are made of plain numbers, and know nothing of runs
    {"adaptation"},
    {"collection"},
    {"outer"},
    {"algorithms"},
    {"training", "evaluation", "search", "reproduction"},
    {"cli"},
    {"adaptax", "__main__"},  # the package's own face, which shows what users need
]
"""From the ground up. A module may import from its own floor and from those below."""

FACES = {
    "algorithms.base",
    "algorithms.meta_gradient",
    "algorithms.few_shot",
    "algorithms.inner_training",
    "algorithms.memory_ppo",
    "algorithms.model_based",
    "algorithms.registry",
    "algorithms",
}
"""Of the algorithms' floor: what all of them build on, and what names them all."""


def sources() -> dict[str, str]:
    """Module name below `adaptax` -> source."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text()
    found["adaptax"] = found.pop("")
    return found


def imports(source: str, modules: Collection[str]) -> set[str]:
    """Modules below `adaptax` that a module imports, wherever in it the import stands."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full"
            # `from adaptax.a import b` names a module b, or something in a.
            for name in (alias.name for alias in node.names if alias.name != "__version__"):
                full = f"{node.module}.{name}"
                found.add(full if full.removeprefix("adaptax.") in modules else node.module or "")
    return {name.removeprefix("adaptax.") for name in found if name.split(".")[0] == "adaptax"}


def floor(module: str) -> int:
    package = module.split(".")[0]
    found = [height for height, packages in enumerate(FLOORS) if package in packages]
    assert found, f"adaptax.{package} stands on no floor; say on which"
    return found[0]


def violations(modules: dict[str, str]) -> list[str]:
    found = []
    for module, source in modules.items():
        for imported in imports(source, modules):
            if floor(imported) > floor(module):
                found.append(f"{module} imports {imported}, which is above it")
            apart = {module, imported} - FACES
            if len(apart) == 2 and all(name.startswith("algorithms.") for name in apart):
                found.append(f"{module} imports {imported}: algorithms never import one another")
    return found


def test_imports_go_down():
    modules = sources()
    assert len(modules) > 40, "the package was not found"
    assert violations(modules) == []


@pytest.mark.parametrize(
    "module, line",
    [
        ("networks.layers", "from adaptax.algorithms.base import Algorithm"),
        ("collection.collect", "def f():\n    import adaptax.training.program"),
        ("tasks.base", "from adaptax import evaluation"),
        ("estimators.ppo", "from adaptax.adaptation.gradient import GradientLearner"),
        ("algorithms.maml", "from adaptax.algorithms.rl2 import RL2"),
        ("algorithms.rl2", "from adaptax.algorithms import maml"),
        ("training.run", "from adaptax import RL2"),
    ],
)
def test_a_planted_violation_is_found(module, line):
    modules = sources()
    modules[module] += "\n" + line + "\n"
    assert [found for found in violations(modules) if found.startswith(module)]
