"""Your own Gymnasium environment with a hidden parameter: meta-train on many boats, then adapt to one never seen."""
import gymnasium as gym
import numpy as np

import adaptax as ax


class Boat(gym.Env):  # steer it to the middle of the river; which way its rudder turns it, and how hard, is hidden
    observation_space = gym.spaces.Box(-2.0, 2.0, (1,), np.float32)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, rudder):
        self.rudder = rudder

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position = np.ones(1, np.float32)
        return self.position, {}

    def step(self, action):
        self.position = np.clip(self.position + 0.5 * self.rudder * action, -2.0, 2.0).astype(np.float32)
        return self.position, -abs(float(self.position[0])), False, False, {}


class Boats:  # the family: how a task is drawn, and its environment
    episode_steps, episodes = 8, 3

    def sample(self, rng, split):
        return {"rudder": rng.choice([-1.0, 1.0]) * rng.uniform(0.5, 1.5)}

    def make(self, task):
        return Boat(**task)

def unknown_boat():  # one that nobody trained on
    return Boat(rudder=-1.2)

if __name__ == "__main__":  # environments run in processes of their own, which import this file
    run = ax.train(ax.RL2(tasks=64, lr=2e-3), ax.tasks.GymnasiumFamily(Boats()), updates=150, directory="runs/boats")
    print("return per episode on unseen boats:", ax.evaluate(run, tasks=100).curve().mean((0, 1)).round(1))
    # then: adaptax adapt runs/boats --env own_environment:unknown_boat --episodes 3
