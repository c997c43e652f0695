"""Action values, plain and duelling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adaptax.networks.q_network import QNetwork

X = jnp.array([0.3, -1.0, 2.0])


@pytest.mark.parametrize("hidden", [(), (5,), (5, 4)])
def test_a_duelling_networks_values_have_the_states_for_their_mean(hidden):
    network = QNetwork(3, hidden, 4, jax.random.key(0), duelling=True)
    features = X if network.body is None else jax.nn.relu(network.body(X))
    assert network.value is not None
    q, advantage = network(X), network.advantage(features)
    np.testing.assert_allclose(q.mean(), network.value(features)[0], rtol=1e-5)
    np.testing.assert_allclose(q - q[0], advantage - advantage[0], rtol=1e-4, atol=1e-6)


def test_a_plain_one_is_a_multilayer_perceptron():
    network = QNetwork(3, (5, 4), 2, jax.random.key(0))
    assert network.body is not None
    first, second = network.body.layers
    h = jax.nn.relu(second(jax.nn.relu(first(X))))
    np.testing.assert_allclose(network(X), network.advantage(h), rtol=1e-6)
