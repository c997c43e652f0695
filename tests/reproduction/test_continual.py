"""What a sequence leaves behind, by hand."""

from __future__ import annotations

import numpy as np

from adaptax.reproduction.continual import left, over_seeds, tuned


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


def test_a_method_is_tuned_on_other_sequences_and_what_is_found_is_kept(tmp_path):
    """Scores are 1 − |setting − 0.3|, and 10 more on the sequences that nothing may be tuned on."""
    asked = []

    def play(settings, first, number):
        asked.append((list(settings), first, number))
        bonus = 10.0 if first == 0 else 0.0
        best = np.array([1 - abs(a - 0.3) + bonus for a, _ in settings])
        return np.broadcast_to(best[:, None, None, None], (len(settings), number, 3, 2))

    methods = {"a": ([(0.1, 1.0), (0.3, 1.0), (0.6, 1.0)], play)}
    found = tuned(methods, 2, 5, tmp_path, [1])
    assert asked == [([(0.1, 1.0), (0.3, 1.0), (0.6, 1.0)], 1000, 2), ([(0.3, 1.0)], 0, 5)]
    assert found["a"][0] == (0.3, 1.0) and found["a"][1].shape == (5, 3, 2)
    again = tuned(methods, 2, 5, tmp_path, [1])
    assert len(asked) == 2
    np.testing.assert_array_equal(again["a"][1], found["a"][1])
    tuned(methods, 2, 6, tmp_path, [1])
    assert len(asked) == 4, "more sequences are another question"
