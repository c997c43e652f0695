"""Checkpoints: arrays and a little text in one safetensors file. Loading one never runs code.

A file holds the leaves of a pytree by their path, and in its header who wrote it and a digest of the arrays, so that a
truncated, altered or foreign file is refused. Files are written aside and renamed: a crash or a full disk leaves the one before.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from adaptax.errors import AdaptaxError

T = TypeVar("T")

FORMAT = "adaptax-checkpoint-1"


def save_checkpoint(path: Path, tree: Any, facts: dict[str, Any] | None = None) -> None:
    """Writes the array leaves of `tree`, and `facts` (JSON values), to `path`; whole or not at all.

    Raises AdaptaxError where the disk is full or the folder cannot be written.
    """
    save_arrays(path, {name: _to_numpy(leaf) for name, leaf in _named_leaves(tree)}, facts)


def save_arrays(path: Path, arrays: dict[str, np.ndarray], facts: dict[str, Any] | None = None) -> None:
    """Writes named arrays and facts to `path`; whole or not at all."""
    told = json.dumps(facts or {})
    # Views with strides would be written as the memory that they look at.
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    metadata = {"format": FORMAT, "digest": _digest(arrays, told), "facts": told}
    write_atomically(path, save(arrays, metadata=metadata))


def load_checkpoint(path: Path, like: T) -> tuple[T, dict[str, Any]]:
    """The tree stored at `path`, shaped like `like` (arrays or ShapeDtypeStructs), and its facts.

    Raises AdaptaxError where the file is missing, truncated, altered, not a checkpoint, or of another algorithm.
    """
    arrays, facts = read_arrays(path)
    names = dict(_named_leaves(like))
    if set(arrays) != set(names):
        odd = sorted(set(arrays) ^ set(names))[0]
        raise AdaptaxError(
            f"{path} belongs to another algorithm, size or version: it and this learner differ in '{odd}'. "
            "Load it with the configuration that it was saved with."
        )

    def restore(path_, leaf):
        if not _is_array(leaf):
            return leaf
        name = jax.tree_util.keystr(path_)
        stored = arrays[name]
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(jnp.asarray(stored))
        if stored.shape != leaf.shape or stored.dtype != leaf.dtype:
            raise AdaptaxError(
                f"{path} does not fit this learner: '{name}' is {stored.dtype}{list(stored.shape)} there and "
                f"{leaf.dtype}{list(leaf.shape)} here. Load it with the configuration that it was saved with."
            )
        return jnp.asarray(stored)

    return jax.tree_util.tree_map_with_path(restore, like), facts


def digest(tree: Any) -> str:
    """Of the array leaves of a tree: their names, types, shapes and bits."""
    return _digest({name: _to_numpy(leaf) for name, leaf in _named_leaves(tree)}, "")


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a checkpoint by name, and its facts, checked against its digest."""
    if not path.is_file():
        raise AdaptaxError(f"There is no checkpoint {path}; name a run that has been trained.")
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise AdaptaxError(
            f"{path} is damaged or no checkpoint ({error}); delete it to go on from the one before."
        ) from None
    if metadata.get("format") != FORMAT:
        raise AdaptaxError(
            f"{path} was not written by this library (or by a later version of it); nothing was loaded."
        )
    if metadata.get("digest") != _digest(arrays, metadata.get("facts", "")):
        raise AdaptaxError(
            f"{path} was changed after it was written (its digest differs); delete it to go on from the one before."
        )
    return arrays, json.loads(metadata["facts"])


def write_atomically(path: Path, content: bytes) -> None:
    """Replaces `path` by `content` in one step, flushed to the disk first."""
    aside = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(aside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise AdaptaxError(
            f"Could not write {path}: {error.strerror or error}. What was saved before is intact; "
            "make room or mend the permissions, then resume."
        ) from None


def _is_array(leaf: Any) -> bool:
    return eqx.is_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct)


def _named_leaves(tree: Any) -> list[tuple[str, Any]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in leaves if _is_array(leaf)]


def _to_numpy(leaf: Any) -> np.ndarray:
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf, order="C")


def _digest(arrays: dict[str, np.ndarray], facts: str) -> str:
    sha = hashlib.sha256(facts.encode())
    for name in sorted(arrays):
        array = arrays[name]
        sha.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()
