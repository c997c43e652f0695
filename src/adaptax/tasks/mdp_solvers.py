"""Finite Markov decision processes: exact solutions, and the tabular learners that are checked against them.

Everywhere P[s, a, s'] is the probability of s' after action a in state s, and R[s, a] the mean reward there.
Equation numbers are those of Sutton & Barto 2018. Functions take ONE process; `jax.vmap` gives batches.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from adaptax.errors import AdaptaxError

Scalar = float | Float[Array, ""]
State = int | Int[Array, ""]


# --- planning ----------------------------------------------------------------------------------


@functools.partial(jax.jit, static_argnames="horizon")
def finite_horizon_values(
    P: Float[Array, "S A S"], R: Float[Array, "S A"], horizon: int
) -> Float[Array, "{horizon} S A"]:
    """Q*_t(s, a) for t = 0..H−1, undiscounted: Q*_t = R + P max_a Q*_{t+1}, with Q*_H = 0."""

    return _backward_induction(P, R, horizon, lambda q: q.max(axis=1))


def value_iteration(
    P: Float[Array, "S A S"], R: Float[Array, "S A"], γ: float, tolerance: float = 1e-7
) -> Float[Array, " S"]:
    """V* of the endless discounted process, by V ← max_a (R + γ P V) from V = 0 (eq. 4.10).

    A sweep is a γ-contraction: log(tolerance) / log(γ) of them leave an error below tolerance × max |V*|.
    Raises AdaptaxError unless 0 ≤ γ < 1.
    """
    if not 0.0 <= γ < 1.0:
        raise AdaptaxError(f"Value iteration needs 0 ≤ γ < 1, not {γ}; use finite_horizon_values for γ = 1.")
    sweeps = 1 if γ == 0.0 else math.ceil(math.log(tolerance) / math.log(γ))
    return _sweep(P, R, γ, sweeps)


@jax.jit
def _sweep(P, R, γ, sweeps) -> Array:
    return jax.lax.fori_loop(0, sweeps, lambda _, v: optimality_backup(P, R, v, γ), jnp.zeros(len(R)))


def optimality_backup(
    P: Float[Array, "S A S"], R: Float[Array, "S A"], V: Float[Array, " S"], γ: Scalar
) -> Float[Array, " S"]:
    """Bellman's optimality operator, (TV)(s) = max_a (R(s, a) + γ Σ_s' P(s'|s, a) V(s'))."""
    return (R + γ * P @ V).max(axis=1)


def bellman_residual(
    P: Float[Array, "S A S"], R: Float[Array, "S A"], V: Float[Array, " S"], γ: Scalar
) -> Float[Array, ""]:
    """max_s |(TV)(s) − V(s)|, which bounds the error: max |V − V*| ≤ residual / (1 − γ)."""
    return jnp.abs(optimality_backup(P, R, V, γ) - V).max()


def policy_evaluation(
    P: Float[Array, "S A S"], R: Float[Array, "S A"], policy: Float[Array, "S A"], γ: Scalar
) -> Float[Array, " S"]:
    """V^π of the endless discounted process, policy[s, a] = π(a|s): solves (I − γ P_π) V = R_π (eq. 4.4)."""
    P_π = jnp.einsum("sa,sat->st", policy, P)
    R_π = (policy * R).sum(axis=1)
    return jnp.linalg.solve(jnp.eye(len(R)) - γ * P_π, R_π)


# --- policy gradient ---------------------------------------------------------------------------


@functools.partial(jax.jit, static_argnames="horizon")
def expected_return(
    P: Float[Array, "S A S"],
    R: Float[Array, "S A"],
    logits: Float[Array, "S A"],
    horizon: int,
    start: State = 0,
) -> Float[Array, ""]:
    """J(θ): the undiscounted return of an episode of `horizon` steps under π = softmax(θ), θ = `logits`."""
    π, q = jax.nn.softmax(logits), policy_values(P, R, logits, horizon)[0]
    return (π * q).sum(axis=1)[start]


@functools.partial(jax.jit, static_argnames="horizon")
def policy_values(
    P: Float[Array, "S A S"], R: Float[Array, "S A"], logits: Float[Array, "S A"], horizon: int
) -> Float[Array, "{horizon} S A"]:
    """Q^π_t(s, a) for t = 0..H−1: Q^π_t = R + P Σ_a π Q^π_{t+1}, with Q^π_H = 0."""
    π = jax.nn.softmax(logits)
    return _backward_induction(P, R, horizon, lambda q: (π * q).sum(axis=1))


def _backward_induction(P, R, horizon: int, value: Callable[[Array], Array]) -> Array:
    """Q_t = R + P value(Q_{t+1}) for t = 0..H−1, where nothing follows the last step."""

    def backwards(v, _):
        q = R + P @ v
        return value(q), q

    return jax.lax.scan(backwards, jnp.zeros(len(R)), length=horizon, reverse=True)[1]


@functools.partial(jax.jit, static_argnames="horizon")
def policy_gradient(
    P: Float[Array, "S A S"],
    R: Float[Array, "S A"],
    logits: Float[Array, "S A"],
    horizon: int,
    start: State = 0,
) -> Float[Array, "S A"]:
    """∇J(θ) in closed form, by the policy-gradient theorem (eq. 13.5) summed over a finite horizon:

        ∂J/∂θ(s, a) = Σ_t d_t(s) π(a|s) (Q^π_t(s, a) − V^π_t(s))

    where d_{t+1}(s') = Σ_{s, a} d_t(s) π(a|s) P(s'|s, a) from d_0, which is all on `start`.
    """
    π, q = jax.nn.softmax(logits), policy_values(P, R, logits, horizon)
    advantages = q - (π * q).sum(axis=2, keepdims=True)
    P_π = jnp.einsum("sa,sat->st", π, P)
    _, d = jax.lax.scan(lambda d, _: (d @ P_π, d), jax.nn.one_hot(start, len(R)), length=horizon)
    return jnp.einsum("ts,sa,tsa->sa", d, π, advantages)


# --- tabular learning --------------------------------------------------------------------------


def q_learning(
    P: Float[Array, "S A S"],
    R: Float[Array, "S A"],
    γ: Scalar,
    steps: int,
    key: Key[Array, ""],
    exploration_decay: Scalar = 0.5,
    rate_decay: Scalar = 0.8,
) -> Float[Array, "S A"]:
    """Q after `steps` steps of Watkins's Q-learning in the endless process, from state 0 (eq. 6.8).

        Q(s, a) ← Q(s, a) + α (R(s, a) + γ max_b Q(s', b) − Q(s, a))

    With n counting visits: actions are ε-greedy, ε = n(s)^−exploration_decay (0: always any action), and the
    learning rate is α = n(s, a)^−rate_decay. Where all states recur it converges to Q*, for
    0 ≤ exploration_decay ≤ 1 and ½ < rate_decay ≤ 1.
    """
    return _learn(_best, P, R, γ, steps, key, exploration_decay, rate_decay)


def sarsa(
    P: Float[Array, "S A S"],
    R: Float[Array, "S A"],
    γ: Scalar,
    steps: int,
    key: Key[Array, ""],
    exploration_decay: Scalar = 0.5,
    rate_decay: Scalar = 0.8,
) -> Float[Array, "S A"]:
    """Q after `steps` steps of SARSA in the endless process, from state 0 (eq. 6.7).

        Q(s, a) ← Q(s, a) + α (R(s, a) + γ Q(s', a') − Q(s, a)),   a' being the action taken in s'

    ε and α are those of `q_learning`. For 0 < exploration_decay ≤ 1 it converges to Q* (Singh et al.
    2000: every action recurs, and greed wins in the limit), for 0 to Q^π of the uniformly random policy.
    """
    return _learn(_taken, P, R, γ, steps, key, exploration_decay, rate_decay)


def _best(q, s, a) -> Array:
    return q[s].max()


def _taken(q, s, a) -> Array:
    return q[s, a]


@functools.partial(jax.jit, static_argnums=0)
def _learn(bootstrap: Callable[..., Array], P, R, γ, steps, key, exploration_decay, rate_decay) -> Array:
    """Temporal-difference control; `bootstrap(q, s', a')` is what the next state is held to be worth."""
    states, actions = R.shape

    def act(q, visits, s, key):
        explore, which = jax.random.split(key)
        ε = jnp.maximum(visits[s].sum(), 1.0) ** -exploration_decay
        any_action = jax.random.randint(which, (), 0, actions)
        return jnp.where(jax.random.uniform(explore) < ε, any_action, q[s].argmax())

    def step(t, carry):
        q, visits, s, a = carry
        move, choose = jax.random.split(jax.random.fold_in(key, t))
        s_next = jax.random.choice(move, states, p=P[s, a])
        visits = visits.at[s, a].add(1.0)
        a_next = act(q, visits, s_next, choose)
        target = R[s, a] + γ * bootstrap(q, s_next, a_next)
        q = q.at[s, a].add(visits[s, a] ** -rate_decay * (target - q[s, a]))
        return q, visits, s_next, a_next

    zeros = jnp.zeros((states, actions))
    return jax.lax.fori_loop(0, steps, step, (zeros, zeros, jnp.int32(0), jnp.int32(0)))[0]
