"""Few-shot intent classification: which of N intents does a sentence express, from K example sentences of each?"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from adaptax.errors import AdaptaxError
from adaptax.tasks.base import Examples, Split, SupervisedFamily
from adaptax.tasks.csv_files import read_rows
from adaptax.tasks.datasets import DataFile
from adaptax.tasks.sentence_vectors import LENGTH, sentence_vectors
from adaptax.types import Discrete, Spec

OUTSIDE = "oos"
"""The label of sentences that express none of the intents."""
TEST_QUERIES = 15
"""Sentences of each intent that a test task is asked about."""
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


@dataclasses.dataclass(frozen=True)
class Text(SupervisedFamily):
    """N-way K-shot intent classification on frozen sentence vectors, with training and test tasks from different domains.

    A task is N intents; their sentences are drawn anew each time. Without a file the sentences are CLINC150's (Larson et al.
    2019): 150 sentences of each of 150 intents, in 10 domains of 15; test intents are those of domains that no training task
    shows. A file of one's own is a CSV with the columns text, label and, if there are some, domain; sentences labelled `oos` belong
    to none of the intents. Inputs are 256 numbers (`sentence_vectors`), about the training sentences' mean.
    """

    file: str = ""
    """A CSV of your own, as in text:my.csv; empty: CLINC150."""
    ways: int = 5
    """N: intents to tell apart."""
    shots: int = 5
    """K: labelled sentences of each."""
    queries: int = 10
    """Sentences of each intent asked about in meta-training; at test time 15."""
    same_domain: bool = False
    """All intents of a task come from one domain: they are harder to tell apart."""
    outside: bool = False
    """One class more: sentences that express none of the intents (CLINC150's, or those labelled oos), with as many examples."""
    test_domains: tuple[str, ...] = ()
    """Domains (of a file without them: labels) to test on; empty: CLINC150's last four, or 40% at random of your own."""

    def __post_init__(self):
        if self.ways < 2 or self.shots < 1 or self.queries < 1:
            raise AdaptaxError(
                f"Text needs at least two ways, one shot and one query, not {self.ways}, {self.shots} and {self.queries}."
            )
        if self.file:
            object.__setattr__(self, "file", str(Path(self.file).resolve()))
            read_sentences(Path(self.file))  # a mistake in it is told before anything else is done

    @property
    def spec(self) -> Spec:
        classes = self.ways + self.outside
        return Spec(
            "text", (LENGTH,), Discrete(classes), episode_steps=classes * self.shots, support=classes * self.shots, ood=False
        )

    @property
    def fingerprint(self) -> str:
        """Of all sentences and how they are divided: another one is another family. AdaptaxError where they do not suffice."""
        corpus = self.corpus
        for split in ("train", "test"):
            self._eligible(split)
        return corpus.fingerprint

    @property
    def corpus(self) -> Corpus:
        """The sentences, read once in a process."""
        if not self.file:
            return _clinc150(self.test_domains or CLINC150_TEST)
        changed = Path(self.file).stat().st_mtime_ns
        return _own_file(self.file, changed, self.test_domains)

    def sample(self, key: Key[Array, ""], split: Split) -> Int[Array, " ways"]:
        """The intents' numbers in `corpus.labels`; class i of the task is the i-th of them."""
        corpus, eligible = self.corpus, self._eligible(split)
        k_domain, k_labels = jax.random.split(key)
        allowed = jnp.asarray(eligible)
        if self.same_domain:
            usable = np.bincount(corpus.domain_of[eligible], minlength=len(corpus.domains)) >= self.ways
            domain = jax.random.categorical(k_domain, jnp.where(jnp.asarray(usable), 0.0, -jnp.inf))
            allowed &= jnp.asarray(corpus.domain_of) == domain
        order = jax.random.uniform(k_labels, allowed.shape) + jnp.where(allowed, 0.0, 2.0)
        return jnp.argsort(order)[: self.ways]

    def examples(self, key: Key[Array, ""], task: Int[Array, " ways"], split: Split) -> Examples:
        corpus = self.corpus
        queries = self.queries if split == "train" else TEST_QUERIES
        k_rows, k_order, k_outside = jax.random.split(key, 3)
        rows, valid = _drawn(k_rows, jnp.asarray(corpus.rows)[task], jnp.asarray(corpus.counts)[task], self.shots + queries)
        if self.outside:
            others = self.outside_rows(k_outside, split, self.shots + queries)
            rows = jnp.concatenate([rows, others[None]])
            valid = jnp.concatenate([valid, jnp.ones((1, valid.shape[1]), bool)])
        labels = jnp.broadcast_to(jnp.arange(len(rows), dtype=jnp.int32)[:, None], rows.shape)
        vectors = corpus.vectors()
        # In random order, so that the place of an example says nothing of its class.
        order = jax.random.permutation(k_order, len(rows) * self.shots)
        support, query = (
            tuple(x[:, part].reshape(-1) for x in (rows, labels, valid))
            for part in (slice(self.shots), slice(self.shots, None))
        )
        return Examples(
            vectors[support[0][order]], support[1][order], vectors[query[0]], query[1], query_valid=query[2]
        )

    def outside_rows(self, key: Key[Array, ""], split: Split, number: int) -> Int[Array, " number"]:
        """Numbers of so many sentences, in `corpus.vectors()`, that express no intent: others at test time than in training."""
        rows = self.corpus.outside["train" if split == "train" else "test"]
        if len(rows) < number:
            raise AdaptaxError(
                f"{number} sentences that express no intent are needed, and there are {len(rows)} for {split}; label more of "
                f"them '{OUTSIDE}', or leave them out."
            )
        return jax.random.choice(key, jnp.asarray(rows), (number,), replace=False)

    def prepared(self, x: np.ndarray) -> np.ndarray:
        """Vectors [n, 256] of `sentence_vectors` as learners see them."""
        return self.corpus.scaled(np.asarray(x, np.float32))

    def _eligible(self, split: Split) -> Bool[np.ndarray, " labels"]:
        """The labels of a split that have sentences enough: K and one to ask about. AdaptaxError where they are too few."""
        corpus = self.corpus
        of_split = corpus.test == (split != "train")
        eligible = of_split & (corpus.counts > self.shots)
        most = np.bincount(corpus.domain_of[eligible]).max(initial=0) if self.same_domain else eligible.sum()
        if most < self.ways:
            where = " of one domain" * self.same_domain
            raise AdaptaxError(
                f"{self.ways} ways of {self.shots} shots need {self.ways} labels{where} with at least {self.shots + 1} sentences, and "
                f"there are {most} for {split} of the {of_split.sum()} labels there; take fewer ways or shots, or other test_domains."
            )
        return eligible


class Corpus:
    """Sentences by their labels, which are numbered in the order of their names."""

    def __init__(self, inside: Sequence[Sentence], outside: dict[str, list[str]], test_domains: Sequence[str]):
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

    def vectors(self) -> Float[Array, "sentences d"]:
        """Of all sentences, on the device."""
        if self._on_device is None:
            with jax.ensure_compile_time_eval():
                self._on_device = jnp.asarray(self._vectors)
        return self._on_device

    @functools.cached_property
    def fingerprint(self) -> str:
        record = [self.labels, self.test.tolist(), self.rows.tolist(), self.sentences]
        return hashlib.sha256(json.dumps(record).encode()).hexdigest()[:16]


def _drawn(
    key: Key[Array, ""], rows: Int[Array, "ways most"], counts: Int[Array, " ways"], number: int
) -> tuple[Int[Array, "ways number"], Bool[Array, "ways number"]]:
    """So many of the first `counts` rows of each class, without repetition; those that only fill up come last."""
    there = jnp.arange(rows.shape[1]) < counts[:, None]
    order = jnp.argsort(jnp.where(there, jax.random.uniform(key, rows.shape), 2.0), axis=1)[:, :number]
    order = jnp.pad(order, ((0, 0), (0, number - order.shape[1])))
    return jnp.take_along_axis(rows, order, 1), jnp.arange(number) < counts[:, None]


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
def _own_file(file: str, changed: int, test_domains: tuple[str, ...]) -> Corpus:
    sentences = read_sentences(Path(file))
    inside = [s for s in sentences if s.label != OUTSIDE]
    others = [s.text for s in sentences if s.label == OUTSIDE]
    domains = sorted({s.domain for s in inside})
    if len(domains) < 2:
        raise AdaptaxError(f"{file} has one domain only; testing needs another, which no training task shows.")
    order = np.random.default_rng(0).permutation(len(domains))
    kept = max(1, round(TEST_SHARE * len(domains)))
    named = test_domains or tuple(domains[i] for i in order[:kept])
    _require_domains(file, domains, named)
    half = len(others) // 2
    return Corpus(inside, {"train": others[:half], "test": others[half:]}, named)


@functools.lru_cache(maxsize=4)
def _clinc150(test_domains: tuple[str, ...]) -> Corpus:
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
