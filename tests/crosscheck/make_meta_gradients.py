"""Meta-gradients computed in PyTorch, for `test_meta_gradients.py` to compare the library's with.

    python tests/crosscheck/make_meta_gradients.py

writes `meta_gradients.npz` beside this file. It needs PyTorch and numpy, which the library's tests do not: the stored values were
made with PyTorch 2.5.1 and numpy 1.26.4, in float64 on a CPU, from inputs that float32 holds exactly, and are stored as float32.
Nothing here knows the library: parameters and data are drawn by numpy, and every step is written once more, in loops where
the library has scans and by least squares where it has normal equations.

The file holds, B tasks, K rounds, N streams, T steps; NAME a parameter, `0.weight` [out, in], `0.bias` [out], …, `log_std`:

    rl/lr, gamma, lambda, ridge, clip, late   scalars; `late` is the factor on inner steps beyond those trained for
    rl/weights [B]                            of the tasks in the outer objective
    rl/obs_mean, rl/obs_variance [d]          observations are (o − mean)/√variance, clipped to ±10, where a policy sees them
    rl/P/params/NAME, rl/P/rates/NAME         the policy and Meta-SGD's step sizes; P: gaussian or categorical
    rl/P/{obs, action, reward, terminated, truncated, first, valid, old_logp} [B, 3, N, T, …]; rl/categorical/mask [B, 3, N, T, n]
    rl/P/advantages [B, 3, N, T]              generalised, over the linear feature baseline, standardised in each round
    rl/P/V/K/loss [], gradient/NAME, rates_gradient/NAME
                                              of the outer objective after K − 1 inner steps; V: second-order, first-order,
                                              head-only, late, meta-sgd
    supervised/lr
    supervised/L/params/NAME; L: mse or cross-entropy
    supervised/L/{support_x, support_y, query_x, query_y} [B, n, …]
    supervised/L/V/S/loss [], gradient/NAME   of the query loss, mean over examples, outputs and tasks, after S inner steps;
                                              V: second-order, first-order

K = 2 takes the first two rounds, of which the second is judged. Rows that are not valid hold nonsense. The squared error is
(y − ŷ)², without ½.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import torch

FILE = Path(__file__).with_name("meta_gradients.npz")
B, K, N, T, D, ACTIONS = 3, 3, 4, 7, 3, 2
CHOICES = 4
HIDDEN = (6, 5)
SETTINGS = {"lr": 0.3, "gamma": 0.9, "lambda": 0.8, "ridge": 1e-5, "clip": 0.2, "late": 0.1}
SETTINGS = {name: float(np.float32(x)) for name, x in SETTINGS.items()}
SUPERVISED_LR = float(np.float32(0.1))

Params = dict[str, torch.Tensor]


def single(x: np.ndarray) -> np.ndarray:
    """Rounded to what float32 holds."""
    return np.asarray(x, np.float32)


def tensor(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(x, np.float64))


# --- parameters and data -----------------------------------------------------------------------------------


def draw_params(rng: np.random.Generator, sizes: tuple[int, ...]) -> dict[str, np.ndarray]:
    params = {}
    for i, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        params[f"{i}.weight"] = single(rng.normal(size=(n_out, n_in)) / math.sqrt(n_in))
        params[f"{i}.bias"] = single(0.3 * rng.normal(size=n_out))
    return params


def draw_experience(rng: np.random.Generator, continuous: bool) -> dict[str, np.ndarray]:
    """Streams that end at different rows, or that hold a second episode."""
    shape = (B, K, N, T)
    obs = single(np.cumsum(2.0 * rng.normal(size=(*shape, D)), axis=3))
    reward = single(rng.normal(size=shape) - 0.3 * np.abs(obs).sum(-1))
    terminated, truncated, first, valid = (np.zeros(shape, bool) for _ in range(4))
    first[..., 0] = True
    for b, k, n in np.ndindex(B, K, N):
        end = int(rng.integers(2, T + 1))  # rows 0..end-1 are valid
        valid[b, k, n, :end] = True
        ends = [end - 1] if n % 2 else [end // 2 - 1, end - 1]  # the even streams hold two episodes
        for t in ends:
            (terminated if rng.random() < 0.5 else truncated)[b, k, n, t] = True
            if t + 1 < end:
                first[b, k, n, t + 1] = True
    nonsense = ~valid
    obs[nonsense], reward[nonsense] = 50.0, -999.0
    data = {
        "obs": obs, "reward": reward, "terminated": terminated, "truncated": truncated, "first": first, "valid": valid,
    }  # fmt: skip
    if continuous:
        data["action"] = single(rng.normal(size=(*shape, ACTIONS)))
    else:
        mask = rng.random((*shape, CHOICES)) < 0.7
        action = rng.integers(0, CHOICES, shape).astype(np.int32)
        np.put_along_axis(mask, action[..., None], True, -1)
        data |= {"action": action, "mask": mask}
    return data


# --- advantages --------------------------------------------------------------------------------------------


def advantages(data: dict[str, np.ndarray], b: int, k: int) -> np.ndarray:
    """[N, T] of one round: ridge regression of the returns on features of the observation and the time, then GAE."""
    γ, λ, ridge = SETTINGS["gamma"], SETTINGS["lambda"], SETTINGS["ridge"]
    episodes = []  # (stream, rows of one episode)
    for n in range(N):
        rows: list[int] = []
        for t in range(T):
            if not data["valid"][b, k, n, t]:
                break
            rows.append(t)
            if data["terminated"][b, k, n, t] or data["truncated"][b, k, n, t]:
                episodes.append((n, rows))
                rows = []
        assert not rows, "every episode ends"
    x, y = [], []
    for n, rows in episodes:
        to_go, targets = 0.0, []
        for t in reversed(rows):
            to_go = float(data["reward"][b, k, n, t]) + γ * to_go
            targets.insert(0, to_go)
        y += targets
        for i, t in enumerate(rows):
            o = np.clip(data["obs"][b, k, n, t].astype(np.float64), -10, 10)
            x.append([*o, *(o**2), i / 100, (i / 100) ** 2, (i / 100) ** 3, 1.0])
    x, y = np.array(x), np.array(y)
    scale = np.sqrt((x**2).mean(0)) + 1e-8
    # min_w mean (y − x w)² + ridge ‖w‖², as one least-squares problem with the penalty's rows below the data's.
    rows_of_data = x / scale / math.sqrt(len(y))
    penalty = math.sqrt(ridge) * np.eye(x.shape[1])
    target = np.concatenate([y / math.sqrt(len(y)), np.zeros(x.shape[1])])
    w = np.linalg.lstsq(np.concatenate([rows_of_data, penalty]), target, rcond=None)[0]
    value = iter(x / scale @ w)
    out, all_of_them = np.zeros((N, T)), []
    for n, rows in episodes:
        v = [next(value) for _ in rows]
        running = 0.0
        for i in reversed(range(len(rows))):
            after = v[i + 1] if i + 1 < len(rows) else 0.0
            running = float(data["reward"][b, k, n, rows[i]]) + γ * after - v[i] + γ * λ * running
            out[n, rows[i]] = running
            all_of_them.append(running)
    mean, deviation = np.mean(all_of_them), np.std(all_of_them)
    valid = data["valid"][b, k]
    out[valid] = (out[valid] - mean) / (deviation + 1e-8)
    return out


# --- policies ----------------------------------------------------------------------------------------------


def network(params: Params, x: torch.Tensor) -> torch.Tensor:
    layers = len([name for name in params if name.endswith("weight")])
    for i in range(layers):
        x = torch.nn.functional.linear(x, params[f"{i}.weight"], params[f"{i}.bias"])
        x = torch.tanh(x) if i < layers - 1 else x
    return x


def log_prob(params: Params, rows: dict[str, torch.Tensor]) -> torch.Tensor:
    out = network(params, rows["seen"])
    if "mask" in rows:
        out = out.masked_fill(~rows["mask"], -math.inf)
        return torch.distributions.Categorical(logits=out).log_prob(rows["action"].long())
    return torch.distributions.Normal(out, params["log_std"].exp()).log_prob(rows["action"]).sum(-1)


def masked_mean(x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    return x[valid].sum() / valid.sum()


# --- inner steps -------------------------------------------------------------------------------------------


def gradients(loss: torch.Tensor, params: Params, names: list[str], keep: bool) -> Params:
    found = torch.autograd.grad(
        loss, [params[n] for n in names], create_graph=keep, retain_graph=True, allow_unused=True
    )
    return {n: torch.zeros_like(params[n]) if g is None else g for n, g in zip(names, found, strict=True)}


def stepped(params: Params, gradient: Params, rates: Params | float) -> Params:
    rate = lambda n: rates[n] if isinstance(rates, dict) else rates  # noqa: E731
    return {n: p - rate(n) * gradient[n] if n in gradient else p for n, p in params.items()}


def outer_loss(
    params: Params, rates: Params | None, variant: str, rounds: list[list[dict[str, torch.Tensor]]], weights
) -> torch.Tensor:
    """The mean over tasks of weight · L_clip of the last round; `rounds[b][k]` holds its rows, [N, T]."""
    total = torch.zeros((), dtype=torch.float64)
    last = max(int(n.split(".")[0]) for n in params if n.endswith("weight"))
    head = [f"{last}.weight", f"{last}.bias", "log_std"]
    for weight, of_task in zip(weights, rounds, strict=True):
        adapted = dict(params)
        for k, rows in enumerate(of_task[:-1]):
            logp = log_prob(adapted, rows)
            loss = masked_mean(-torch.exp(logp - logp.detach()) * rows["advantages"], rows["valid"])
            names = head if variant == "head-only" else list(params)
            gradient = gradients(loss, adapted, names, keep=variant != "first-order")
            if variant == "first-order":
                gradient = {n: g.detach() for n, g in gradient.items()}
            scale = SETTINGS["late"] if variant == "late" and k >= 1 else 1.0
            rate = {n: scale * r for n, r in rates.items()} if rates else scale * SETTINGS["lr"]
            adapted = stepped(adapted, gradient, rate)
        rows = of_task[-1]
        ratio = torch.exp(log_prob(adapted, rows) - rows["old_logp"])
        edge = torch.minimum((ratio - 1 - SETTINGS["clip"]).abs(), (ratio - 1 + SETTINGS["clip"]).abs())
        assert edge[rows["valid"]].min() > 1e-4, "a ratio at the clip's edge has no gradient to compare"
        clipped = torch.clamp(ratio, 1 - SETTINGS["clip"], 1 + SETTINGS["clip"])
        a = rows["advantages"]
        total = total + weight * masked_mean(-torch.minimum(ratio * a, clipped * a), rows["valid"])
    return total / len(rounds)


def reinforcement(out: dict[str, np.ndarray]) -> None:
    rng = np.random.default_rng(1)
    out |= {f"rl/{name}": np.float32(x) for name, x in SETTINGS.items()}
    weights = out["rl/weights"] = single([0.5, 1.0, 1.5])
    mean = out["rl/obs_mean"] = single(rng.normal(size=D))
    variance = out["rl/obs_variance"] = single(rng.uniform(2.0, 9.0, size=D))
    for policy in ("gaussian", "categorical"):
        continuous = policy == "gaussian"
        actions = ACTIONS if continuous else CHOICES
        values = draw_params(rng, (D, *HIDDEN, actions)) | {"log_std": single(0.2 * rng.normal(size=actions))}
        rates = {name: single(rng.uniform(-0.1, 0.5, size=p.shape)) for name, p in values.items()}
        data = draw_experience(rng, continuous)
        seen = np.clip(
            (data["obs"] - mean.astype(np.float64)) / np.sqrt(variance.astype(np.float64)), -10, 10
        )
        advantage = np.array([[advantages(data, b, k) for k in range(K)] for b in range(B)])

        def rows(b: int, k: int, seen=seen, data=data, advantage=advantage) -> dict[str, torch.Tensor]:
            of_round = {"seen": tensor(seen[b, k]), "advantages": tensor(advantage[b, k])}
            of_round |= {n: torch.from_numpy(data[n][b, k]) for n in ("valid", "mask") if n in data}
            return of_round | {n: tensor(data[n][b, k]) for n in ("action", "old_logp") if n in data}

        fixed = {n: tensor(p) for n, p in values.items()}
        here = np.array([[log_prob(fixed, rows(b, k)).numpy() for k in range(K)] for b in range(B)])
        data["old_logp"] = single(np.where(data["valid"], here + 0.3 * rng.normal(size=here.shape), 3.0))
        out |= {f"rl/{policy}/params/{n}": p for n, p in values.items()}
        out |= {f"rl/{policy}/rates/{n}": r for n, r in rates.items()}
        out |= {f"rl/{policy}/{n}": x for n, x in data.items()}
        out[f"rl/{policy}/advantages"] = single(advantage)
        for variant in ("second-order", "first-order", "head-only", "late", "meta-sgd"):
            for rounds in (2, 3):
                params = {n: tensor(p).requires_grad_() for n, p in values.items()}
                learned = {n: tensor(r).requires_grad_() for n, r in rates.items()}
                learned = learned if variant == "meta-sgd" else None
                of_tasks = [[rows(b, k) for k in range(rounds)] for b in range(B)]
                loss = outer_loss(params, learned, variant, of_tasks, weights.tolist())
                name = f"rl/{policy}/{variant}/{rounds}"
                out[f"{name}/loss"] = single(loss.item())
                for kind, leaves in (("gradient", params), ("rates_gradient", learned)):
                    if leaves:
                        found = gradients(loss, leaves, list(leaves), keep=False)
                        out |= {f"{name}/{kind}/{n}": single(g.numpy()) for n, g in found.items()}


# --- supervised --------------------------------------------------------------------------------------------


def error(kind: str, params: Params, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    out = network(params, x)
    return ((out - y) ** 2).mean() if kind == "mse" else torch.nn.functional.cross_entropy(out, y)


def supervised(out: dict[str, np.ndarray]) -> None:
    rng = np.random.default_rng(2)
    out["supervised/lr"] = np.float32(SUPERVISED_LR)
    for kind, outputs in (("mse", 2), ("cross-entropy", 3)):
        values = draw_params(rng, (D, *HIDDEN, outputs))
        data = {}
        for part, n in (("support", 5), ("query", 8)):
            data[f"{part}_x"] = single(rng.normal(size=(B, n, D)))
            y = single(rng.normal(size=(B, n, outputs)))
            data[f"{part}_y"] = y if kind == "mse" else rng.integers(0, outputs, (B, n)).astype(np.int32)
        out |= {f"supervised/{kind}/params/{n}": p for n, p in values.items()}
        out |= {f"supervised/{kind}/{n}": x for n, x in data.items()}
        examples = {
            n: tensor(x) if x.dtype == np.float32 else torch.from_numpy(x).long() for n, x in data.items()
        }
        for variant in ("second-order", "first-order"):
            for steps in (1, 5):
                params = {n: tensor(p).requires_grad_() for n, p in values.items()}
                total = torch.zeros((), dtype=torch.float64)
                for b in range(B):
                    adapted = dict(params)
                    for _ in range(steps):
                        loss = error(kind, adapted, examples["support_x"][b], examples["support_y"][b])
                        gradient = gradients(loss, adapted, list(params), keep=variant == "second-order")
                        if variant == "first-order":
                            gradient = {n: g.detach() for n, g in gradient.items()}
                        adapted = stepped(adapted, gradient, SUPERVISED_LR)
                    total = total + error(kind, adapted, examples["query_x"][b], examples["query_y"][b])
                total = total / B
                name = f"supervised/{kind}/{variant}/{steps}"
                out[f"{name}/loss"] = single(total.item())
                found = gradients(total, params, list(params), keep=False)
                out |= {f"{name}/gradient/{n}": single(g.numpy()) for n, g in found.items()}


if __name__ == "__main__":
    arrays: dict[str, np.ndarray] = {}
    reinforcement(arrays)
    supervised(arrays)
    np.savez_compressed(FILE, **arrays)
    print(f"{FILE.name}: {len(arrays)} arrays, {FILE.stat().st_size} bytes, PyTorch {torch.__version__}")
