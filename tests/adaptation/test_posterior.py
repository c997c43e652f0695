"""A belief that is a product of Gaussians: numbers by hand, and what a product must keep."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from scipy import integrate, stats

from adaptax.adaptation.posterior import GaussianBelief, kl_from_prior, multiplied, prior

MEANS = jnp.array([[1.0, -2.0], [3.0, 0.5], [-1.0, 4.0]])
PRECISIONS = jnp.array([[2.0, 0.5], [0.0, 1.0], [1.0, 4.0]])
ALL = jnp.ones(3, bool)


def check_product() -> None:
    """1 + 2 + 0 + 1 = 4 and 2·1 + 0·3 + 1·(−1) = 1; 1 + ½ + 1 + 4 = 6½ and ½·(−2) + ½ + 16 = 15½. A row that is not valid
    weighs nothing, whatever stands in it."""
    belief = multiplied(prior(2), MEANS, PRECISIONS, ALL)
    np.testing.assert_allclose(belief.precision, [4.0, 6.5])
    np.testing.assert_allclose(belief.mean, [0.25, 15.5 / 6.5], rtol=1e-5)
    np.testing.assert_allclose(belief.std, [0.5, 6.5**-0.5], rtol=1e-5)
    first = multiplied(prior(2), MEANS.at[1:].set(jnp.nan), PRECISIONS, jnp.array([True, False, False]))
    np.testing.assert_allclose(first.precision, [3.0, 1.5])
    np.testing.assert_allclose(first.mean, [2.0 / 3.0, -1.0 / 1.5], rtol=1e-5)


def test_the_product_by_hand():
    check_product()


def test_it_is_bayes_rule():
    """The density is the normalised product of the densities."""
    belief = multiplied(prior(1), MEANS[:, 1:], PRECISIONS[:, 1:], ALL)

    def product(z):
        factors = stats.norm.pdf(z, MEANS[:, 1], np.asarray(PRECISIONS[:, 1]) ** -0.5)
        return stats.norm.pdf(z) * factors.prod()

    total = integrate.quad(product, -10, 10)[0]
    for z in (-1.0, 2.0, 2.5):
        np.testing.assert_allclose(
            product(z) / total, stats.norm.pdf(z, belief.mean[0], belief.std[0]), rtol=1e-4
        )


def test_order_and_rounds_change_nothing_and_no_evidence_is_the_prior():
    batch = multiplied(prior(2), MEANS, PRECISIONS, ALL)
    order = jnp.array([2, 0, 1])
    permuted = multiplied(prior(2), MEANS[order], PRECISIONS[order], ALL)
    by_rounds = prior(2)
    for i in range(3):
        by_rounds = multiplied(by_rounds, MEANS[i : i + 1], PRECISIONS[i : i + 1], ALL[:1])
    for other in (permuted, by_rounds):
        np.testing.assert_allclose(other.precision, batch.precision, rtol=1e-5)
        np.testing.assert_allclose(other.mean, batch.mean, rtol=1e-5)
    nothing = multiplied(prior(2), MEANS, PRECISIONS, ~ALL)
    np.testing.assert_array_equal(nothing.mean, jnp.zeros(2))
    np.testing.assert_array_equal(nothing.std, jnp.ones(2))


def test_divergence_from_the_prior():
    """½ [¼ + 1 − 1 + log 4] + ½ [1 + 0 − 1 + log 1] = ⅛ + log 2; 0 at the prior, with no slope there."""
    belief = GaussianBelief(jnp.array([4.0, 1.0]), jnp.array([4.0, 0.0]))
    np.testing.assert_allclose(kl_from_prior(belief), 0.125 + np.log(2.0), rtol=1e-5)
    value, slope = jax.value_and_grad(kl_from_prior)(prior(3))
    assert value == 0.0 and all(np.all(x == 0.0) for x in jax.tree.leaves(slope))


def test_samples_have_the_belief():
    belief = multiplied(prior(2), MEANS, PRECISIONS, ALL)
    samples = np.asarray(jax.vmap(belief.sample)(jax.random.split(jax.random.key(0), 4000)))
    for i in range(2):
        assert stats.kstest((samples[:, i] - belief.mean[i]) / belief.std[i], "norm").pvalue > 1e-3
