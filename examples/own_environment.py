"""Your own Gymnasium environment with a hidden parameter: meta-train on many, then adapt to one that was never seen."""

import gymnasium as gym
import numpy as np

import adaptax as ax


class Boat(gym.Env):
    """Steer a boat back to the middle of the river. Which way its rudder turns it, and how hard, is not visible."""

    observation_space = gym.spaces.Box(-2.0, 2.0, (1,), np.float32)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, rudder):
        self.rudder = rudder

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position = self.np_random.uniform(-1.0, 1.0, 1).astype(np.float32)
        return self.position, {}

    def step(self, action):
        self.position = np.clip(self.position + 0.3 * self.rudder * action, -2.0, 2.0).astype(np.float32)
        return self.position, -abs(float(self.position[0])), False, False, {}


class Boats:
    """The family: how a task is drawn, and its environment."""

    episode_steps, episodes = 15, 3

    def sample(self, rng, split):
        return {"rudder": rng.choice([-1.0, 1.0]) * rng.uniform(0.5, 1.5)}

    def make(self, task):
        return Boat(**task)


if __name__ == "__main__":  # the environments run in processes of their own, which import this file
    run = ax.train(ax.RL2(tasks=64), ax.tasks.GymnasiumFamily(Boats()), updates=80)
    print("return per episode on unseen boats:", ax.evaluate(run, tasks=50).curve().mean((0, 1)).round(1))
    agent, env = run.begin(), gym.wrappers.TimeLimit(Boat(rudder=-1.2), 15)
    for episode in range(3):
        observation, total, over = env.reset(seed=episode)[0], 0.0, False
        while not over:
            observation, reward, terminated, truncated, _ = env.step(agent.act(observation))
            agent.observe(reward, terminated, truncated, observation)
            total, over = total + reward, terminated or truncated
        print(f"episode {episode}: return {total:.1f}")
