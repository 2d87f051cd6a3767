"""Two processes as two hosts: one run, written once, as a process with two devices does it."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from lhco_events import fake_events, write_frame

import jaxad
from jaxad.data import lhco
from jaxad.devices import hosts
from jaxad.errors import UserError

ROOT = Path(__file__).parents[2]
DEVICES = "--xla_force_host_platform_device_count="


def start(command: list[str], folder: Path, process: int, port: int) -> subprocess.Popen:
    """Python as one of two processes with a device each, or with `port` 0 alone with two."""
    flags_of_xla = f"{os.environ.get('XLA_FLAGS', '')} {DEVICES}{1 if port else 2}"
    environment = os.environ | {"XLA_FLAGS": flags_of_xla, "JAX_PLATFORMS": "cpu"}
    if port:
        names = (f"127.0.0.1:{port}", "2", str(process))
        environment |= dict(zip(hosts.ENVIRONMENT, names, strict=True))
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_two(command: list[str], folder: Path) -> list[subprocess.Popen]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [start(command, folder, process, port) for process in range(2)]


def end(processes: list[subprocess.Popen]) -> list[str]:
    said = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), said
    return said


def assert_equal_runs(one: Path, other: Path) -> None:
    with np.load(one / "scorer/params.npz") as a, np.load(other / "scorer/params.npz") as b:
        assert sorted(a) == sorted(b)
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


@pytest.fixture(scope="module")
def training(tmp_path_factory) -> list[str]:
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("rows") / "rows.npz"
    np.savez(path, x=rng.random((300, 8), np.float32), label=rng.integers(0, 2, 300))
    return [
        str(ROOT / "train.py"),
        f"--config={ROOT / 'configs' / 'features_ae.py'}:smoke",
        f"--config.data.source={path}",
        "--config.data.label_key=label",
        "--config.data.signals=signal=1",
        "--config.baselines=('observables',)",
        "--config.train.epochs=6",
        "--config.train.checkpoint_seconds=0.0",
    ]


@pytest.mark.long
def test_killed_and_resumed_two_hosts_equal_one_process(training, tmp_path):
    flags = [*training, "--workdir=two"]
    processes = start_two(flags, tmp_path)
    checkpoints = tmp_path / "two" / "checkpoints" / "autoencoder"
    while len(list(checkpoints.glob("[0-9]*"))) < 2 and processes[0].poll() is None:
        time.sleep(0.05)
    for process in processes:
        process.kill()
        process.communicate()
    leader, follower = end(start_two(flags, tmp_path))
    assert "going on at epoch" in leader
    assert "trained: two/scorer" in leader
    assert "trained" not in follower and "parameters" not in follower
    end([start([*training, "--workdir=one"], tmp_path, 0, 0)])
    assert_equal_runs(tmp_path / "two", tmp_path / "one")


@pytest.mark.long
def test_density_and_ensemble_over_two_hosts(tmp_path):
    """CATHODE: the flow over a sharded batch, then an ensemble with a member on each host."""
    write_frame(tmp_path / "features.h5", fake_events(1000, 250), [*lhco.JETS, "label"])
    flags = [
        str(ROOT / "train.py"),
        f"--config={ROOT / 'configs' / 'cathode.py'}:smoke",
        "--config.data.source=features.h5",
        "--config.data.n_signal=100",
        "--config.flow.n_layers=2",
        "--config.flow_train.epochs=1",
        "--config.flow_train.keep_best=1",
        "--config.train.epochs=1",
        "--config.train.keep_best=1",
    ]
    end(start_two([*flags, "--workdir=two"], tmp_path))
    end([start([*flags, "--workdir=one"], tmp_path, 0, 0)])
    assert_equal_runs(tmp_path / "two", tmp_path / "one")
    assert np.isfinite(jaxad.load(tmp_path / "two").background).all()


WAIT = """
import time
from jaxad import hosts
hosts.initialize()
with hosts.leader_first("work"):
    time.sleep(35 if hosts.leads() else 0)
print(hosts.largest(hosts.leads()))
"""


@pytest.mark.long
def test_the_leader_may_take_longer_than_a_computation_waits():
    """JAX gives up on other processes after 30 seconds when it first computes with them."""
    processes = start_two(["-c", WAIT], ROOT)
    assert [said.splitlines()[-1] for said in end(processes)] == ["[1]"] * 2


def test_half_an_environment_is_refused(monkeypatch):
    monkeypatch.setenv("JAX_NUM_PROCESSES", "2")
    with pytest.raises(UserError, match="JAX_COORDINATOR_ADDRESS, JAX_PROCESS_ID too"):
        hosts.initialize()


@pytest.mark.parametrize("name", [*hosts.LAUNCHERS, *hosts.ENVIRONMENT])
@pytest.mark.parametrize("left", ["", " "])
def test_an_empty_variable_is_none(monkeypatch, name, left):
    monkeypatch.setenv(name, left)
    hosts.initialize()
    assert hosts.largest(1) == [1]


def test_a_launcher_of_one_process_starts_one(monkeypatch):
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "1")
    hosts.initialize()


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"OMPI_COMM_WORLD_SIZE": "two"}, "OMPI_COMM_WORLD_SIZE: expected a whole number.*'two'"),
        ({"SLURM_STEP_NUM_TASKS": "2(x3)"}, "SLURM_STEP_NUM_TASKS: .*unset it"),
        (dict(zip(hosts.ENVIRONMENT, ("a:1", "two", "0"), strict=True)), "NUM_PROCESSES: .*'two'"),
        (dict(zip(hosts.ENVIRONMENT, ("a:1", "2", "-1"), strict=True)), "PROCESS_ID: .*'-1'"),
        (dict(zip(hosts.ENVIRONMENT, ("a:1", "2", "2"), strict=True)), "expected 0 to 1.*found 2"),
    ],
)
def test_variables_that_are_no_numbers_are_named(monkeypatch, variables, message):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message):
        hosts.initialize()


def test_what_a_launcher_left_behind_is_named():
    """Other processes that nobody started: a shell within mpirun, say."""
    code = "from jaxad.devices import hosts; hosts.initialize()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"OMPI_COMM_WORLD_SIZE": "2"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stderr.splitlines()[-1]
    assert "OMPI_COMM_WORLD_SIZE speaks of 2 processes, which cannot be found" in said


def test_alone_a_vote_is_ones_own():
    assert hosts.leads()
    assert hosts.largest(3.7, True, False) == [3, 1, 0]
    with hosts.leader_first("nothing"):
        pass
