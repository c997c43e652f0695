"""What the README and the documentation say holds: links, files, names, commands, code."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from adaptax.algorithms.registry import ENTRIES
from adaptax.cli import COMMANDS
from adaptax.cli.arguments import parse
from adaptax.cli.search import search_command
from adaptax.cli.train import train_command
from adaptax.reproduction.figures import FIGURES
from adaptax.tasks.registry import ENTRIES as FAMILIES

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
ENGLISH = sorted((ROOT / "docs/en").glob("*.md"))
SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
FENCE = re.compile(r"^```([\w-]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, *languages: str) -> list[str]:
    return [text for language, text in FENCE.findall(page.read_text()) if language in languages]


pages = pytest.mark.parametrize("page", PAGES, ids=name)


@pages
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]*)(?:#[^)]*)?\)", FENCE.sub("", page.read_text())):
        assert target.startswith("https://") or (page.parent / target).exists(), target


@pages
def test_files_and_names_that_are_pointed_at_exist(page):
    """`src/adaptax/x/y.py`, and the names in a run of code spans after it, up to the next word."""
    for path, names in re.findall(
        r"`((?:src|tests|examples|benchmarks)/[\w/.]+)`((?:[,:( ]+`[\w.]+`)*)", page.read_text()
    ):
        assert (ROOT / path).exists(), path
        if not (path.startswith("src/adaptax/") and path.endswith(".py")):
            continue
        module = importlib.import_module(path.removeprefix("src/").removesuffix(".py").replace("/", "."))
        for dotted in re.findall(r"`([\w.]+)`", names):
            where = module
            for part in dotted.split("."):
                known = hasattr(where, part) or part in getattr(where, "__dataclass_fields__", {})
                assert known, f"{path} has no {dotted}"
                where = getattr(where, part, None)


@pages
def test_nothing_is_left_open_or_foreign(page):
    text = page.read_text()
    assert not re.search(r"\{\{|TODO|FIXME", text)
    assert not re.search(r"(?<![\w.])/(work|tmp|root|home)/", text)


@pages
def test_python_parses_and_its_names_exist(page):
    """Blocks that use the library; those of other libraries stand beside them in some pages."""
    for text in blocks(page, "python"):
        tree = ast.parse(text)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ax":
                assert hasattr(importlib.import_module("adaptax"), node.attr), ast.unparse(node)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("adaptax"):
                for alias in node.names:
                    assert hasattr(importlib.import_module(str(node.module)), alias.name), ast.unparse(node)


@pages
def test_commands_are_understood(page):
    """Their names and flags; what their folders hold is for whoever types them."""
    for text in blocks(page, "", "sh", "bash", "console", "shell"):
        for line in text.replace("\\\n", " ").splitlines():
            match = re.match(r"(?:\$ )?adaptax (.*)", line)
            if match is None:
                continue
            words = shlex.split(re.split(r"  |#", match[1])[0])
            assert words[0] in COMMANDS or words[0].startswith("-"), line
            if any(re.search(r"\b[A-Z]{3,}\b", w) for w in words) or {"...", "--help"} & set(words):
                continue  # a pattern, not a command
            understood(words)


def understood(words: list[str]) -> None:
    """Raises AdaptaxError where the command line would not take these words."""
    command, rest = words[0], words[1:]
    if command in ("train", "search"):
        kind, _, own = rest[1].partition(":")  # a user's file lies elsewhere
        family = kind if kind in FAMILIES else "cartpole"
        assert own or rest[1] in FAMILIES
        {"train": train_command, "search": search_command}[command]([rest[0], family, *rest[2:]])
    elif command in COMMANDS:
        module, _, attribute = COMMANDS[command][0].partition(":")
        found = parse(getattr(importlib.import_module(f"adaptax.cli.{module}"), attribute), rest, "adaptax")
        if command == "reproduce" and found.name is not None:
            assert found.name in FIGURES


def test_a_command_that_is_wrong_is_found_out():
    from adaptax.errors import AdaptaxError

    for words in ("train rl2 bernoulli-bandit --lrr 3", "evaluate runs/x --task 3", "train rl3 cartpole"):
        with pytest.raises(AdaptaxError):
            understood(words.split())


@pytest.mark.parametrize("page", ENGLISH, ids=name)
def test_each_page_is_there_in_chinese_with_the_same_code(page):
    chinese = ROOT / "docs/zh" / page.name
    assert re.search(r"[\u4e00-\u9fff]{4}", chinese.read_text())
    for ours, theirs in zip(FENCE.findall(page.read_text()), FENCE.findall(chinese.read_text()), strict=True):
        bare = [re.sub(r"\s*#.*", "", text) for _, text in (ours, theirs)]
        assert ours[0] == theirs[0] and (bare[0] == bare[1] or ours[0] in ("", "text")), ours[1]


def test_pages_name_their_parts_alike():
    """A heading that stands on several English pages has one Chinese wording on all of them, in the same place."""
    wordings: dict[str, set[str]] = {}
    for page in ENGLISH:
        theirs = SECTION.findall((ROOT / "docs/zh" / page.name).read_text())
        for ours, other in zip(SECTION.findall(page.read_text()), theirs, strict=True):
            wordings.setdefault(ours, set()).add(other)
    assert {heading: found for heading, found in wordings.items() if len(found) > 1} == {}


def test_every_algorithm_has_its_page():
    files = {type(entry.default).__module__.rsplit(".", 1)[1] for entry in ENTRIES.values()}
    assert files <= {page.stem.replace("-", "_") for page in ENGLISH}


def test_the_readmes_lines_of_python_run(tmp_path):
    [code] = [text for text in blocks(ROOT / "README.md", "python") if "ax.train" in text]
    code = code.replace("updates=30", "updates=1").replace("tasks=100", "tasks=3")
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "adaptation.png").stat().st_size > 5000
