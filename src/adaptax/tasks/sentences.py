"""Sentences with labels: CLINC150's or those of a user's CSV, as vectors, divided by their domains."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float16

from adaptax.errors import AdaptaxError
from adaptax.tasks.csv_files import read_rows
from adaptax.tasks.datasets import DataFile
from adaptax.tasks.word_vectors import sentence_vectors

OUTSIDE = "oos"
"""The label of sentences that express none of the intents."""
TEST_SHARE = 0.4
"""Of the domains, or of the labels of a file without domains, that are kept for testing unless `test_domains` says which."""
CLINC150_TEST = ("meta", "small_talk", "utility", "work")
"""Domains of CLINC150 kept for testing; the training ones are banking, credit cards, kitchen, home, driving and travel."""

_SOURCE = "https://raw.githubusercontent.com/clinc/oos-eval/828f8093932c8fe6ca7936c3d2e52903b1c523de/data/"
CLINC150 = {
    "sentences": DataFile(
        "clinc150",
        "data_full.json",
        f"{_SOURCE}data_full.json",
        "36923c3705a59e08fe9c3883d8bc2dd966ef93e22cb78ac41171782a698d56e0",
    ),
    "domains": DataFile(
        "clinc150",
        "domains.json",
        f"{_SOURCE}domains.json",
        "b947b579d3b8e74b06f93b01083d8efaff2888b43a3e362533bd88a6e1211b3a",
    ),
}


class Sentence(NamedTuple):
    text: str
    label: str
    domain: str


class Corpus:
    """Sentences by their labels, which are numbered in the order of their names."""

    def __init__(
        self, inside: Sequence[Sentence], outside: dict[str, list[str]], test_domains: Sequence[str]
    ):
        self.domains = sorted({s.domain for s in inside})
        self.labels = sorted({(s.label, s.domain) for s in inside})
        self.domain_of = np.array([self.domains.index(domain) for _, domain in self.labels])
        self.test = np.isin(self.domain_of, [self.domains.index(domain) for domain in test_domains])
        number = {label: i for i, label in enumerate(self.labels)}
        rows: list[list[int]] = [[] for _ in self.labels]
        for row, s in enumerate(inside):
            rows[number[s.label, s.domain]].append(row)
        self.counts = np.array([len(r) for r in rows])
        self.rows = np.array([r + [0] * (self.counts.max() - len(r)) for r in rows])
        self.sentences = [s.text for s in inside] + outside["train"] + outside["test"]
        ends = np.cumsum([len(inside), len(outside["train"]), len(outside["test"])])
        self.outside = {"train": np.arange(*ends[:2]), "test": np.arange(*ends[1:])}
        trained = ~self.test[[number[s.label, s.domain] for s in inside]]
        raw = sentence_vectors(self.sentences)
        self._mean = raw[: len(inside)][trained].mean(0)
        self._vectors = self.scaled(raw)
        self._on_device: Array | None = None

    def scaled(self, vectors: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        """About the mean of the training sentences, and so long that an entry is about 1."""
        centred = vectors - self._mean
        length = np.linalg.norm(centred, axis=1, keepdims=True)
        return (centred / np.where(length == 0.0, 1.0, length) * np.sqrt(centred.shape[1])).astype(np.float32)

    def vectors(self) -> Float16[Array, "sentences d"]:
        """Of all sentences, on the device; in half precision, for compiled programs hold them."""
        if self._on_device is None:
            with jax.ensure_compile_time_eval():
                self._on_device = jnp.asarray(self._vectors, jnp.float16)
        return self._on_device

    def sentences_of(self, vectors: Float[np.ndarray, "n d"]) -> list[str]:
        """The sentences whose vectors these are."""
        return [self.sentences[self._places[row.tobytes()]] for row in np.asarray(vectors, np.float16)]

    @functools.cached_property
    def _places(self) -> dict[bytes, int]:
        return {row.tobytes(): i for i, row in enumerate(np.asarray(self._vectors, np.float16))}

    @functools.cached_property
    def fingerprint(self) -> str:
        record = [self.labels, self.test.tolist(), self.rows.tolist(), self.sentences]
        return hashlib.sha256(json.dumps(record).encode()).hexdigest()[:16]


def read_sentences(path: Path) -> list[Sentence]:
    """The rows of a CSV with the columns text, label and perhaps domain; without that each label is a domain of its own.

    AdaptaxError, with the number of the line, for a malformed file or a label in two domains.
    """
    found: list[Sentence] = []
    first: dict[str, tuple[str, int]] = {}
    for line, fields in read_rows(path, ("text", "label"), ("domain",)):
        label = fields["label"]
        domain = fields.get("domain", label)
        before, at = first.setdefault(label, (domain, line))
        if before != domain and label != OUTSIDE:
            raise AdaptaxError(
                f"{path}, line {line}: the label '{label}' is of the domain '{domain}' here and of '{before}' in line {at}; give "
                "labels of different domains different names."
            )
        found.append(Sentence(fields["text"], label, domain))
    return found


@functools.lru_cache(maxsize=4)
def own_file(file: str, changed: int, test_domains: tuple[str, ...]) -> Corpus:
    sentences = read_sentences(Path(file))
    inside = [s for s in sentences if s.label != OUTSIDE]
    others = [s.text for s in sentences if s.label == OUTSIDE]
    domains = sorted({s.domain for s in inside})
    if len(domains) < 2:
        raise AdaptaxError(
            f"{file} has one domain only; testing needs another, which no training task shows."
        )
    order = np.random.default_rng(0).permutation(len(domains))
    kept = max(1, round(TEST_SHARE * len(domains)))
    named = test_domains or tuple(domains[i] for i in order[:kept])
    _require_domains(file, domains, named)
    half = len(others) // 2
    return Corpus(inside, {"train": others[:half], "test": others[half:]}, named)


@functools.lru_cache(maxsize=4)
def clinc150(test_domains: tuple[str, ...]) -> Corpus:
    """All sentences of each intent, whichever part of the published division they are in; those that express no intent as
    published, 200 to train on and 1,000 to test on."""
    parts = json.loads(CLINC150["sentences"].path().read_text())
    domains = json.loads(CLINC150["domains"].path().read_text())
    domain_of = {label: domain for domain, labels in domains.items() for label in labels}
    inside = [
        Sentence(text, label, domain_of[label])
        for part in ("train", "val", "test")
        for text, label in parts[part]
    ]
    outside = {
        split: [text for part in names for text, _ in parts[part]]
        for split, names in {"train": ("oos_train", "oos_val"), "test": ("oos_test",)}.items()
    }
    _require_domains("CLINC150", sorted(domains), test_domains)
    return Corpus(inside, outside, test_domains)


def _require_domains(where: str, domains: Sequence[str], named: Sequence[str]) -> None:
    unknown = [domain for domain in named if domain not in domains]
    if unknown:
        raise AdaptaxError(f"{where} has no domain '{unknown[0]}'; it has {', '.join(domains)}.")
