"""What is told while a program compiles, and that compilation is no time of learning."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

import jax
import jax.numpy as jnp
import pytest

from adaptax.algorithms.random_policy import RandomPolicy
from adaptax.tasks.bandits import BernoulliBandit
from adaptax.training import train as training
from adaptax.training.compilation import EVENTS, Compilation
from adaptax.training.interrupts import Interrupts
from adaptax.training.progress import describe
from adaptax.training.train import make_program, train


@pytest.mark.skipif(sys.platform == "win32", reason="reads from a pipe by the C library")
def test_a_signal_is_told_of_while_python_cannot_hear_it():
    """As in a compilation: a call of the C library, which the signal does not break off, ends when it has been told."""
    ear, mouth = os.pipe()
    late = threading.Timer(20.0, os.write, (mouth, b"late"))

    def shoot():
        time.sleep(0.2)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    with Interrupts(lambda: os.write(mouth, b"told")) as interrupts:
        late.start()
        threading.Thread(target=shoot).start()
        said = ctypes.create_string_buffer(4)
        ctypes.CDLL(None).read(ear, said, 4)
        late.cancel()
        assert (said.raw, interrupts.asked) == (b"told", True)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.set_wakeup_fd(-1) == -1
    os.close(ear)
    os.close(mouth)


def test_a_training_that_is_to_stop_says_so(tmp_path):
    seen = []

    def report(progress):
        seen.append(progress)
        if progress.phase == "training" and len(seen) == 2:
            signal.raise_signal(signal.SIGINT)
            deadline = time.monotonic() + 60
            while seen[-1].phase != "stopping" and time.monotonic() < deadline:  # said by another thread
                time.sleep(0.001)

    run = train(RandomPolicy(), BernoulliBandit(), 10**6, report=report)
    assert [p.phase for p in seen[:2]] == ["compiling", "training"] and run.updates < 10**6
    assert {"stopping", "interrupted"} <= {p.phase for p in seen}
    assert "interrupted; stops when" in describe(seen[2])


def deep(x):
    """Takes a while to compile."""
    for i in range(300):
        x = jnp.sin(x * i)
    return x


def test_what_a_host_program_compiles_in_its_first_update_is_no_time_of_learning(monkeypatch):
    spent = []

    def program_of(run):
        program = make_program(run.family)

        def compiles(algorithm, state, count):
            if count and not spent:
                started = time.perf_counter()
                jax.jit(lambda x: deep(x))(jnp.ones(3)).block_until_ready()
                spent.append(time.perf_counter() - started)
            return program(algorithm, state, count)

        return compiles

    monkeypatch.setattr(training, "_program", program_of)
    seen = []
    run = train(RandomPolicy(), BernoulliBandit(), 1, report=seen.append)
    assert run.seconds < 0.5 * spent[0] < seen[-1].compile_seconds


def test_seconds_of_a_compilation_within_another_count_once():
    with Compilation() as compilation:
        time.sleep(0.02)
        for seconds in (0.005, 0.02):  # the second began before the first, and ended after it
            jax.monitoring.record_event_duration_secs(f"{EVENTS}made_up", seconds)
        jax.monitoring.record_event_duration_secs("/jax/other", 7.0)
        assert compilation.seconds == pytest.approx(0.02)
    jax.monitoring.record_event_duration_secs(f"{EVENTS}made_up", 1.0)
    assert compilation.seconds == pytest.approx(0.02)
