"""What a sequence leaves behind, by hand."""

from __future__ import annotations

import numpy as np

from adaptax.reproduction.continual import left, over_seeds


def test_scores_of_a_sequence_of_three_tasks():
    """Rows: before everything, after one, two and three tasks; columns: on each."""
    scores = np.array([[[0.1, 0.1, 0.2], [0.8, 0.3, 0.2], [0.9, 0.7, 0.4], [0.5, 0.6, 0.9]]])
    found = left(scores)
    np.testing.assert_allclose(found.retained, [(0.5 + 0.6 + 0.9) / 3])
    np.testing.assert_allclose(found.learned, [(0.8 + 0.7 + 0.9) / 3])
    np.testing.assert_allclose(found.forgetting, [((0.9 - 0.5) + (0.7 - 0.6)) / 2])
    np.testing.assert_allclose(found.backward, [((0.5 - 0.8) + (0.6 - 0.7)) / 2])
    np.testing.assert_allclose(found.forward, [((0.3 - 0.1) + (0.4 - 0.2)) / 2])


def test_a_difference_over_seeds_is_paired():
    mean, low, high = over_seeds(np.array([1.0, 5.0, 9.0]), np.array([0.0, 4.0, 8.0]))
    assert (mean, low, high) == (1.0, 1.0, 1.0)
