"""The persistent compilation cache: what was compiled once is read the next time."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
from pathlib import Path

import jax

from adaptax.tasks.datasets import user_cache


def cache_folder() -> Path:
    """Per user, and per jaxlib and processor: compiled programs hold instructions that another processor may lack."""
    machine = hashlib.sha256(f"{platform.machine()} {_cpu_features()}".encode()).hexdigest()[:12]
    return user_cache() / f"jaxlib-{importlib.metadata.version('jaxlib')}-{machine}"


def enable_compilation_cache() -> None:
    """Turns the cache on, unless the user has set one or none can be written; a broken cache is ignored, never fatal."""
    if jax.config.values["jax_compilation_cache_dir"]:
        return
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if writable:
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _cpu_features() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next((line for line in file if line.startswith(("flags", "Features"))), "")
    except OSError:
        return platform.processor()
