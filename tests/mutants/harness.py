"""Breaks one function of the package for as long as a block lasts."""

from __future__ import annotations
import __future__

import ast
import contextlib
import importlib
import inspect
import sys
import textwrap
from collections.abc import Iterator

import jax
import pytest

PLACES = (
    "adaptax",
    "adaptation",
    "algorithms",
    "collection",
    "crosscheck",
    "estimators",
    "evaluation",
    "laws",
    "networks",
    "outer",
    "reproduction",
    "search",
    "supervised",
    "tasks",
)
"""Packages whose modules may hold the function under a name of their own."""


@contextlib.contextmanager
def mutated(target: str, old: str, new: str) -> Iterator[None]:
    """`target`, MODULE:FUNCTION or MODULE:CLASS.METHOD, with `old` in its source replaced by `new`, wherever it is in use.

    AssertionError where `old` does not stand in the source exactly once: a mutant that has gone stale must be renewed.
    """
    module_name, _, qualified = target.partition(":")
    module = importlib.import_module(module_name)
    *owners, name = qualified.split(".")
    owner = module
    for part in owners:
        owner = getattr(owner, part)
    source = _source_of(inspect.getsource(module), qualified.split("."))
    assert source.count(old) == 1, f"{target} holds {old!r} {source.count(old)} times"
    code = compile(
        source.replace(old, new), f"<mutant of {target}>", "exec", __future__.annotations.compiler_flag, True
    )
    made = {}
    exec(code, vars(module), made)

    original = vars(owner)[name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, made[name])
        if owner is module:
            for other in [m for n, m in sys.modules.items() if n.split(".")[0] in PLACES]:
                for alias, value in list(vars(other).items()):
                    if value is original:
                        patch.setattr(other, alias, made[name])
        jax.clear_caches()  # what was compiled before knows the function as it was
        try:
            yield
        finally:
            jax.clear_caches()


def _source_of(text: str, path: list[str]) -> str:
    """Of the function or method that `path` names, decorators included."""
    nodes: list[ast.stmt] = ast.parse(text).body
    for i, part in enumerate(path):
        node = next(n for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef) and n.name == part)
        if i < len(path) - 1:
            nodes = node.body
    first = min([node.lineno, *[d.lineno for d in node.decorator_list]])
    return textwrap.dedent("\n".join(text.splitlines()[first - 1 : node.end_lineno]))
