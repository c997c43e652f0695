"""Sentences as vectors that nothing is trained on here: means of the static word vectors that come with the package `wordllama`."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from adaptax.errors import AdaptaxError, short

LENGTH = 256
"""Of a vector."""


def sentence_vectors(sentences: Sequence[str]) -> Float[np.ndarray, "n 256"]:
    """The mean of the vectors of a sentence's tokens, at length 1 (a sentence without tokens: zero).

    The tokens' vectors are those of Miller's WordLlama, 256 numbers each, read from the files of the installed package: no
    network, no import of it. AdaptaxError where it is not installed, or something else than sentences is given.
    """
    if isinstance(sentences, str) or not all(isinstance(sentence, str) for sentence in sentences):
        raise AdaptaxError(f"Sentences come as a list of strings, not {short(sentences)}.")
    tokenizer, table = _tokens()
    vectors = np.zeros((len(sentences), LENGTH), np.float32)
    encoded = tokenizer.encode_batch(list(sentences), add_special_tokens=False)
    for row, tokens in zip(vectors, encoded, strict=True):
        if tokens.ids:
            row[:] = table[tokens.ids].mean(0)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths == 0.0, 1.0, lengths)


@functools.cache
def _tokens() -> tuple[Any, Float[np.ndarray, "tokens 256"]]:
    """The tokenizer, and a vector for each of its tokens."""
    try:
        from tokenizers import Tokenizer

        spec = importlib.util.find_spec("wordllama")
        if spec is None or spec.origin is None:
            raise ImportError
    except ImportError:
        raise AdaptaxError("Sentence vectors come with wordllama: pip install 'adaptax[text]'.") from None
    from safetensors.numpy import load_file

    folder = Path(spec.origin).parent
    [weights] = _files(folder, f"weights/*_{LENGTH}.safetensors")
    [config] = _files(folder, "tokenizers/*.json")
    [table] = load_file(weights).values()
    return Tokenizer.from_file(str(config)), table.astype(np.float32)


def _files(folder: Path, pattern: str) -> list[Path]:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise AdaptaxError(
            f"The installed wordllama has {len(found)} files {pattern}, where one was expected; pip install 'adaptax[text]' "
            "takes a version that fits."
        )
    return found
