"""Rulesets of XLand-MiniGrid: generated here as its published benchmarks are made, kept in a cache, divided for training and test.

A ruleset is a goal, production rules, and the objects that an episode begins with (Nikulin et al. 2024). The goal asks for one
object, or two next to each other; rules make objects of others, so that the goal's may have to be made first; distractor
objects and rules lead nowhere. Encodings are those of the package `xminigrid`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import os
import random
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors.numpy
from jaxtyping import Bool, UInt8
from safetensors import SafetensorError

from adaptax.errors import AdaptaxError, near
from adaptax.tasks.datasets import user_cache

Tile = tuple[int, int]
"""(what, colour)."""

PICKABLE = (3, 4, 5, 7, 12, 11)
"""Ball, square, pyramid, key, star, hexagon."""
GOAL_TILE = 6
"""Can be stood on, but not picked up."""
COLOURS = (1, 2, 3, 4, 5, 6, 9, 10, 11, 8)
"""All but those of floors and of nothing."""
OBJECTS: tuple[Tile, ...] = tuple(itertools.product(PICKABLE, COLOURS))
PLACES: tuple[Tile, ...] = OBJECTS + tuple((GOAL_TILE, colour) for colour in COLOURS)
NOTHING: Tile = (1, 7)
"""Floor: what a rule leaves behind that makes its objects disappear."""

# By what is asked for: to hold a tile; to be near one, anywhere or above, right, below, left; two tiles likewise.
GOAL_HOLD, GOAL_AGENT_NEAR, GOAL_TILES_NEAR = 1, (3, 11, 12, 13, 14), (4, 7, 8, 9, 10)
RULE_HOLD, RULE_AGENT_NEAR, RULE_TILES_NEAR = 1, (2, 8, 9, 10, 11), (3, 4, 5, 6, 7)
MIRRORED = {9: 7, 10: 8}
"""Two tiles one below the other, and left: the goal of one above and right of the other, with the tiles exchanged."""
GOAL_LENGTH, RULE_LENGTH = 5, 7
ATTEMPTS = 50
"""Draws for each ruleset before there are taken to be no more that differ."""
VERSION = 1
"""Of the generator: another one makes other rulesets, and keeps them apart."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How rulesets are made."""

    depth: int
    """Levels of rules between the objects at the beginning and the goal."""
    pruned: float
    """How probable it is that an object of a level is there at the beginning, instead of being made."""
    distractor_rules: int
    """At most."""
    distractor_objects: int


RECIPES = {
    "trivial": Recipe(0, 0.0, 0, 3),
    "small": Recipe(1, 0.3, 2, 2),
    "medium": Recipe(2, 0.1, 3, 2),
    "high": Recipe(3, 0.1, 4, 1),
}
"""Those of the published benchmarks of the same names."""


class Rulesets(NamedTuple):
    """M rulesets."""

    goals: UInt8[np.ndarray, "M 5"]
    rules: UInt8[np.ndarray, "M rules 7"]
    """Rows of 0 fill up."""
    objects: UInt8[np.ndarray, "M objects 2"]
    """What an episode begins with; likewise."""
    test: Bool[np.ndarray, " M"]
    """Which are for testing: a fifth, drawn at random."""

    @property
    def fingerprint(self) -> str:
        """Of all numbers, and how they are divided."""
        return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in self)).hexdigest()


@functools.lru_cache(maxsize=8)
def rulesets(benchmark: str, number: int, seed: int) -> Rulesets:
    """So many rulesets: of a recipe, made from a seed; or of one of xminigrid's benchmarks, which it downloads.

    AdaptaxError where there are not so many, or there is no such benchmark.
    """
    found = _kept(benchmark, number, seed) if benchmark in RECIPES else _downloaded(benchmark, number, seed)
    # At random: rulesets of few variants come early, and would all be in one part.
    order = np.random.default_rng(seed).permutation(number)
    return Rulesets(*found, test=order < max(1, number // 5))


def generate(recipe: Recipe, number: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(goals, rules, objects) of so many rulesets, no two of which ask for the same by the same rules."""
    rng = random.Random(seed)
    known: set[tuple] = set()
    made: list[tuple[list[int], list[list[int]], list[Tile]]] = []
    for _ in range(ATTEMPTS * number):
        if len(made) == number:
            break
        goal, rules, objects = _ruleset(recipe, rng)
        same = (_meaning(goal), *map(tuple, rules))
        if same not in known:
            known.add(same)
            made.append((goal, rules, objects))
    if len(made) < number:
        raise AdaptaxError(
            f"There are hardly more than {len(made):,} different rulesets of this kind, not {number:,}; ask for fewer."
        )
    most = [max(len(ruleset[i]) for ruleset in made) for i in (1, 2)]
    goals = np.zeros((number, GOAL_LENGTH), np.uint8)
    all_rules = np.zeros((number, most[0], RULE_LENGTH), np.uint8)
    all_objects = np.zeros((number, most[1], 2), np.uint8)
    for i, (goal, rules, objects) in enumerate(made):
        goals[i] = goal
        all_objects[i, : len(objects)] = objects
        for j, rule in enumerate(rules):
            all_rules[i, j] = rule
    return goals, all_rules, all_objects


def _ruleset(recipe: Recipe, rng: random.Random) -> tuple[list[int], list[list[int]], list[Tile]]:
    """(goal, rules, objects): from the goal down, level by level."""
    goal, needed = _goal(rng)
    used, rules, objects = list(needed), [], []
    for _ in range(recipe.depth):
        below: list[Tile] = []
        for tile in reversed(needed):
            if rng.random() < recipe.pruned:
                objects.append(tile)
                continue
            rule, tiles = _rule(rng, tile, used)
            rules.append(rule)
            used += tiles
            below += tiles
        needed = below
    objects += needed
    objects += rng.choices(_without(PLACES, used), k=recipe.distractor_objects)
    for _ in range(rng.randint(0, recipe.distractor_rules)):
        # Of any tiles, those of the goal too: dead ends.
        rule, tiles = _rule(rng, rng.choice(_without((*OBJECTS, NOTHING), used)), [])
        rules.append(rule)
        objects += tiles
    return goal, rules, objects


def _goal(rng: random.Random) -> tuple[list[int], list[Tile]]:
    """The goal's encoding, and the tiles that it needs."""
    kind = rng.choice((GOAL_HOLD, *GOAL_AGENT_NEAR, *GOAL_TILES_NEAR))
    if kind in GOAL_TILES_NEAR:
        tiles = [rng.choice(PLACES), rng.choice(OBJECTS)]
    else:
        tiles = [rng.choice(OBJECTS if kind == GOAL_HOLD else PLACES)]
    return _encoded(kind, tiles, GOAL_LENGTH), tiles


def _rule(rng: random.Random, product: Tile, used: list[Tile]) -> tuple[list[int], list[Tile]]:
    """The encoding of a rule that makes a tile, and the tiles that it takes, none of which is in use."""
    kind = rng.choice((RULE_HOLD, *RULE_AGENT_NEAR, *RULE_TILES_NEAR))
    if kind in RULE_TILES_NEAR:
        tiles = [rng.choice(_without(PLACES, used)), rng.choice(_without(OBJECTS, used))]
    else:
        tiles = [rng.choice(_without(OBJECTS, used))]
    return _encoded(kind, [*tiles, product], RULE_LENGTH), tiles


def _encoded(kind: int, tiles: list[Tile], length: int) -> list[int]:
    numbers = [kind, *itertools.chain.from_iterable(tiles)]
    return numbers + [0] * (length - len(numbers))


def _meaning(goal: list[int]) -> tuple[int, ...]:
    """The same for goals that are attained by the same: two tiles next to each other are so in either order."""
    kind, *tiles = goal
    a, b = tuple(tiles[:2]), tuple(tiles[2:])
    if kind in MIRRORED:
        return (MIRRORED[kind], *b, *a)
    return (kind, *min(a, b), *max(a, b)) if kind == GOAL_TILES_NEAR[0] else tuple(goal)


def _without(tiles: tuple[Tile, ...], used: list[Tile]) -> list[Tile]:
    return [tile for tile in tiles if tile not in used]


def _kept(benchmark: str, number: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Generated once per user; what is damaged is made again."""
    path = user_cache() / "xland" / f"{benchmark}-{number}-{seed}-v{VERSION}.rulesets"
    found = _read(path)
    if found is None:
        found = generate(RECIPES[benchmark], number, seed)
        _write(path, found)
    return found


def _read(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """None where there is nothing, or nothing whole. A file is the SHA-256 of its contents, and its contents."""
    try:
        digest, contents = (data := path.read_bytes())[:64], data[64:]
        if hashlib.sha256(contents).hexdigest().encode() != digest:
            return None
        arrays = safetensors.numpy.load(contents)
        return arrays["goals"], arrays["rules"], arrays["objects"]
    except (OSError, SafetensorError, KeyError):
        return None


def _write(path: Path, found: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """Whole or not at all; where nothing can be written, nothing is kept."""
    contents = safetensors.numpy.save(dict(zip(("goals", "rules", "objects"), found, strict=True)))
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(hashlib.sha256(contents).hexdigest().encode() + contents)
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()


def _downloaded(benchmark: str, number: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A random part of one of xminigrid's own benchmarks."""
    from xminigrid import benchmarks

    names = (*RECIPES, *benchmarks.registered_benchmarks())
    if benchmark not in names:
        raise AdaptaxError(
            f"XLand-MiniGrid has no benchmark '{benchmark}'; {near(benchmark, names)}there are: {', '.join(names)}."
        )
    try:
        whole = benchmarks.load_benchmark(benchmark)
    except OSError as error:
        raise AdaptaxError(
            f"XLand-MiniGrid's benchmark '{benchmark}' could not be downloaded ({str(error)[:80]}); try again later, put it in "
            f"the folder that XLAND_MINIGRID_DATA names, or take one that is generated: {', '.join(RECIPES)}."
        ) from error
    if whole.num_rulesets() < number:
        raise AdaptaxError(
            f"The benchmark '{benchmark}' has {whole.num_rulesets():,} rulesets, not {number:,}; ask for fewer."
        )
    chosen = np.random.default_rng(seed).permutation(whole.num_rulesets())[:number]
    return tuple(np.asarray(part)[chosen] for part in (whole.goals, whole.rules, whole.init_tiles))  # type: ignore[return-value]
