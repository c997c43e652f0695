"""Before any test: type and shape checks on the whole package, a compilation cache, and few, repeatable examples."""

from __future__ import annotations

import gc
import os

# Tests compile much and run little: XLA's least effort takes a quarter of the time. Must come before the first compilation.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false")

import hypothesis
import jax
import pytest
from jaxtyping import install_import_hook

# Must come before the package's first import: from here on every annotated call is checked.
install_import_hook("adaptax", "beartype.beartype")

from adaptax.training.cache import cache_folder  # noqa: E402

hypothesis.settings.register_profile(
    "adaptax", max_examples=25, deadline=None, derandomize=True, database=None, print_blob=False
)
hypothesis.settings.load_profile("adaptax")

# Per user, beside the package's own cache: reruns read what was compiled.
jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "tests"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def pytest_configure(config):
    # Two xdist workers may meet in one entry, and a killed run may leave half of one; JAX then compiles again.
    config.addinivalue_line(
        "filterwarnings", "ignore:Error (reading|writing) persistent compilation cache entry"
    )


@pytest.fixture(autouse=True, scope="module")
def _no_more_programs_than_one_module_compiles():
    """Every compiled program takes memory and maps of the process, of which there are only so many."""
    yield
    jax.clear_caches()
    gc.collect()
