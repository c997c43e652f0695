"""Few-shot intent classification: which of N intents does a sentence express, from K example sentences of each?"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Key

from adaptax.errors import AdaptaxError
from adaptax.tasks.base import Examples, Split, SupervisedFamily
from adaptax.tasks.sentences import CLINC150_TEST, OUTSIDE, Corpus, clinc150, own_file, read_sentences
from adaptax.tasks.word_vectors import LENGTH
from adaptax.types import Discrete, Spec

TEST_QUERIES = 15
"""Sentences of each intent that a test task is asked about."""


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
            "text",
            (LENGTH,),
            Discrete(classes),
            episode_steps=classes * self.shots,
            support=classes * self.shots,
            ood=False,
            embedded=True,
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
            return clinc150(self.test_domains or CLINC150_TEST)
        changed = Path(self.file).stat().st_mtime_ns
        return own_file(self.file, changed, self.test_domains)

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
        return jax.lax.top_k(-order, self.ways)[1]

    def examples(self, key: Key[Array, ""], task: Int[Array, " ways"], split: Split) -> Examples:
        corpus = self.corpus
        queries = self.queries if split == "train" else TEST_QUERIES
        k_rows, k_order, k_outside = jax.random.split(key, 3)
        rows, valid = _drawn(
            k_rows, jnp.asarray(corpus.rows)[task], jnp.asarray(corpus.counts)[task], self.shots + queries
        )
        if self.outside:
            others = self.outside_rows(k_outside, split, self.shots + queries)
            rows = jnp.concatenate([rows, others[None]])
            valid = jnp.concatenate([valid, jnp.ones((1, valid.shape[1]), bool)])
        labels = jnp.broadcast_to(jnp.arange(len(rows), dtype=jnp.int32)[:, None], rows.shape)
        vectors = corpus.vectors()
        # In random order, so that the place of an example says nothing of its class.
        n = len(rows) * self.shots
        order = jax.lax.top_k(jax.random.uniform(k_order, (n,)), n)[1]
        support, query = (
            tuple(x[:, part].reshape(-1) for x in (rows, labels, valid))
            for part in (slice(self.shots), slice(self.shots, None))
        )
        return Examples(
            vectors[support[0][order]].astype(jnp.float32),
            support[1][order],
            vectors[query[0]].astype(jnp.float32),
            query[1],
            query_valid=query[2],
        )

    def outside_rows(self, key: Key[Array, ""], split: Split, number: int) -> Int[Array, " number"]:
        """Numbers of so many sentences, in `corpus.vectors()`, that express no intent: others at test time than in training."""
        rows = self.corpus.outside["train" if split == "train" else "test"]
        if len(rows) < number:
            raise AdaptaxError(
                f"{number} sentences that express no intent are needed, and there are {len(rows)} for {split}; label more of "
                f"them '{OUTSIDE}', or leave them out."
            )
        return jnp.asarray(rows)[jax.lax.top_k(jax.random.uniform(key, rows.shape), number)[1]]

    def in_words(self, task: Int[Array, " ways"], x: np.ndarray) -> tuple[list[str], list[str]]:
        names = [self.corpus.labels[i][0] for i in np.asarray(task)] + ["none of these"] * self.outside
        return names, self.corpus.sentences_of(x)

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
                f"{self.ways} ways of {self.shots} shots need {self.ways} labels{where} with at least {self.shots + 1} sentences, "
                f"and there are {most} for {split} of the {of_split.sum()} labels there; take fewer ways or shots, "
                "or other test_domains."
            )
        return eligible


def _drawn(
    key: Key[Array, ""], rows: Int[Array, "ways most"], counts: Int[Array, " ways"], number: int
) -> tuple[Int[Array, "ways number"], Bool[Array, "ways number"]]:
    """So many of the first `counts` rows of each class, without repetition; those that only fill up come last."""
    there = jnp.arange(rows.shape[1]) < counts[:, None]
    dice = jnp.where(there, jax.random.uniform(key, rows.shape), 2.0)
    order = jax.lax.top_k(-dice, min(number, dice.shape[1]))[1]
    order = jnp.pad(order, ((0, 0), (0, number - order.shape[1])))
    return jnp.take_along_axis(rows, order, 1), jnp.arange(number) < counts[:, None]
