"""Steps that went too far are taken back: on a loss whose slope leads over a cliff."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax

from adaptax.estimators.ppo import epochs_over_tasks


def check_taken_back() -> None:
    """A step of plain descent is 1 long, and 0.3 is too far: 1, ½, ¼ are tried, and the last is kept; with fewer epochs none is."""

    def loss(params, x):
        return -params["w"].sum(), {"kl_nats": jnp.abs(params["w"]).max()}

    def after(epochs, too_far):
        params, _, _ = epochs_over_tasks(
            loss, {"w": jnp.zeros(2)}, optax.identity().init({}), optax.identity(), jnp.array(1.0), jnp.zeros((3, 1)),
            jax.random.key(0), epochs=epochs, minibatches=1, floats_per_task=1,
            max_kl_nats=jnp.array(0.2), too_far_nats=too_far,
        )  # fmt: skip
        return np.asarray(params["w"])

    np.testing.assert_allclose(after(1, None), [1.0, 1.0])
    np.testing.assert_allclose(after(5, None), [1.0, 1.0])  # beyond the bound, no further step is taken
    for epochs, expected in ((1, 0.0), (2, 0.0), (3, 0.25), (5, 0.25)):
        np.testing.assert_allclose(after(epochs, jnp.array(0.3)), [expected] * 2)


def test_a_step_that_went_too_far_is_taken_back():
    check_taken_back()
