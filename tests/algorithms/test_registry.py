"""The names of the command line, and the configurations that go by them."""

from __future__ import annotations

import dataclasses

import pytest

from adaptax.algorithms.base import check_hyperparameters
from adaptax.algorithms.maml import MAML
from adaptax.algorithms.registry import ENTRIES, name_of


@pytest.mark.parametrize("name", ENTRIES)
def test_a_preset_is_found_by_its_configuration(name):
    for preset in ENTRIES[name].presets:
        check_hyperparameters(preset)
        assert preset in ENTRIES[name_of(preset)].presets


def test_the_papers_configurations_keep_their_names():
    for name in ("fomaml", "anil", "meta-sgd"):
        assert name_of(ENTRIES[name].paper) == name
        assert name_of(dataclasses.replace(ENTRIES[name].default, tasks=7)) == name
    assert name_of(MAML(streams=3)) == "maml"
