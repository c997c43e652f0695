"""`adaptax list`."""

from __future__ import annotations

import dataclasses
from typing import Any

from adaptax.algorithms import registry as algorithms
from adaptax.cli.output import show, show_json
from adaptax.cli.spaces import in_words
from adaptax.errors import AdaptaxError
from adaptax.reports.tables import Table
from adaptax.tasks import registry as families
from adaptax.types import Spec


@dataclasses.dataclass(frozen=True)
class List:
    """Algorithms and task families, one line each."""

    json: bool = False
    """Print one JSON value instead of tables."""

    def execute(self) -> None:
        record = facts()
        show_json(record) if self.json else show(*tables(record))


def facts() -> dict[str, Any]:
    """What there is, as JSON values. `support[ALGORITHM][FAMILY]`: "learning", "runs" or "no"."""
    specs = {name: entry.spec for name, entry in families.ENTRIES.items()}
    return {
        "algorithms": [
            {
                "name": name,
                "summary": entry.summary,
                "kind": entry.kind,
                "learning": bool(entry.learns_on),
                "learns_on": list(entry.learns_on),
                "presets": ["default"] + (["paper"] if entry.paper or entry.paper_supervised else []),
                "updates": entry.updates,
            }
            for name, entry in algorithms.ENTRIES.items()
        ],
        "families": [
            {
                "name": name,
                "summary": entry.summary,
                "observation": list(specs[name].observation),
                "action": in_words(specs[name].action),
                "episode_steps": specs[name].episode_steps,
                "episodes": specs[name].episodes,
                "features": specs[name].features,
                "shared_tasks": specs[name].shared_tasks,
                "supervised": specs[name].supervised,
                "splits": ["train", "test"] + (["ood"] if specs[name].ood else []),
            }
            for name, entry in families.ENTRIES.items()
        ],
        "support": {
            name: {family: _support(entry, family, spec) for family, spec in specs.items()}
            for name, entry in algorithms.ENTRIES.items()
        },
    }


def _support(entry: algorithms.Entry, family: str, spec: Spec) -> str:
    if family in entry.learns_on:
        return "learning"
    if getattr(entry.default, "told", False) and not spec.features:
        return "no"
    try:
        entry.defaults(spec)[0].build(spec)
    except AdaptaxError:  # supervised tasks, masked actions: the method says what it cannot learn on
        return "no"
    return "runs"


def tables(record: dict[str, Any]) -> list[Table]:
    """The same for people."""

    def status(a: dict[str, Any]) -> str:
        if a["kind"] == "baseline":
            return "baseline"
        return f"learning: {', '.join(a['learns_on'])}" if a["learning"] else "not learning"

    real = {f["name"] for f in record["families"] if f["action"].startswith("box") and not f["supervised"]}

    def works_on(a: dict[str, Any]) -> str:
        cannot = {family for family, how in record["support"][a["name"]].items() if how == "no"}
        discrete = " with choices for actions" if real <= cannot else ""
        if discrete:
            cannot -= real
        said = []
        for kind, labelled in (("environments", False), ("labelled examples", True)):
            of_kind = {f["name"] for f in record["families"] if f["supervised"] == labelled}
            if of_kind - cannot:
                unfit = ", ".join(sorted(of_kind & cannot))
                said.append(kind + discrete * (not labelled) + (unfit and f" but {unfit}"))
        return ", ".join(said)

    left = frozenset(range(9))
    return [
        Table(
            "Algorithms",
            ["name", "", "works on", "status"],
            [[a["name"], a["summary"], works_on(a), status(a)] for a in record["algorithms"]],
            "learning: `adaptax reproduce` shows a learning result there (5 seeds, 100 unseen tasks, intervals above zero)",
            left,
        ),
        Table(
            "Task families",
            ["name", "", "observation", "action", "episode", "lifetime", "splits"],
            [
                [
                    f["name"],
                    f["summary"],
                    "×".join(map(str, f["observation"])),
                    f["action"],
                    f"{f['episode_steps']} examples" if f["supervised"] else f"≤ {f['episode_steps']} steps",
                    "" if f["supervised"] else f"{f['episodes']} episode{'s' * (f['episodes'] != 1)}",
                    " ".join(f["splits"]) + (" (shared)" if f["shared_tasks"] else ""),
                ]
                for f in record["families"]
            ],
            "and your own: gymnasium:MODULE:CLASS or jax:MODULE:CLASS; `adaptax new-family FILE` writes a template",
            left,
        ),
    ]
