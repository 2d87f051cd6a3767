"""Commands killed at random instants again and again; their end compared with an undisturbed one.

    python benchmarks/faults.py [--kills 8] [--targets adc2021_ae,export] [--seed 0] [--out DIR]

Targets are the training of every config (variant smoke, a checkpoint as often as can be), a
simulation, the clustering of raw events, a whole run with empty caches, evaluation, scoring of
files and export. A trial is some kills in a row of the same command in the same folder, and then
the command left alone: arrays, history, scores and files at its end must be those of the
undisturbed run, bit for bit.

Half of the kills come at an instant drawn from the whole life of the process, half as soon as a new
file or folder is there; one in three is SIGTERM, the others SIGKILL. In a share --cold of the
trials Python starts anew, in the others the process is forked from one that has imported all it
needs. Prints a table and writes DIR/faults.json. What lies in DIR (simulations, compiled programs)
is used again.
"""

import argparse
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import tqdm
from fault_processes import ROOT, Process, draw, import_programs, watched
from fault_results import Result, differences, evaluated, exported, scored, simulated, trained

from jaxad.errors import UserError
from jaxad.simulation.frames import write_fixed
from jaxad.storage.own import claim

IN_A_ROW = 6
KILLED = (143, -signal.SIGTERM, -signal.SIGKILL)
"""Exit codes of a process that was sent a signal."""
KINDS = [f"{kind} {name}" for kind in ("instant", "file") for name in ("SIGKILL", "SIGTERM")]

MORE_FLAGS = {
    "adc2021_student": "--config.method.teacher={out}/teacher",
    "features_ae": "--config.data.source={out}/features.npz",
    "hls4ml_ae": "--config.data.source={out}/jets.npz",
    "interpretable_hls4ml": "--config.data.source={out}/jets.npz",
}
SHALLOW = ("one_class_svm", "gaussian_mixture", "nearest_neighbours")
TEACHER = ["--config=configs/adc2021_vae.py:smoke", "--config.model.name=dense_ae"]


class Target(NamedTuple):
    """A command that fills the folder {state}."""

    command: list[str]
    result: Callable[[Path], Result]
    environment: Mapping[str, str] = MappingProxyType({})
    cold: bool = False  # always in a Python of its own


@dataclass
class Count:
    """Of one target."""

    injected: Counter = field(default_factory=Counter)
    survived: int = 0
    lost: int = 0
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0


def environment(out: Path) -> dict[str, str]:
    """For every process: caches in `out`, programs that compile quickly."""
    return {
        "JAX_COMPILATION_CACHE_DIR": str(out / "xla"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "JAX_PLATFORMS": "cpu",
        "JAXAD_CACHE": str(out / "cache"),
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
    }


def _saving_often(tree: dict, path: str) -> list[str]:
    own = [f"--{path}.checkpoint_seconds=0.0"] if "checkpoint_seconds" in tree else []
    inner = [_saving_often(v, f"{path}.{k}") for k, v in tree.items() if isinstance(v, dict)]
    return sum(inner, own)


def training(config: str, out: Path, *more: str) -> Target:
    """`train.py` of a config's variant smoke, every stage of it saving as often as it can."""
    tree = importlib.import_module(f"configs.{config}").get_config("smoke").to_dict()
    flags = [*MORE_FLAGS.get(config, "").format(out=out).split(), *_saving_often(tree, "config")]
    program = ["train.py", f"--config=configs/{config}.py:smoke", "--workdir={state}/run"]
    return Target([*program, *flags, *more], trained)


def targets(out: Path) -> dict[str, Target]:
    """Every target by its name, the programs beside train.py first."""
    found: dict[str, Target] = {}
    simulation = "-m jaxad simulate toptagging --events 40 --workers 2 --out {state}/simulation"
    found["simulation"] = Target(simulation.split(), simulated, cold=True)
    clustering = f"-m jaxad data cluster {out}/raw.h5 --workers 2 --out {{state}}/simulation"
    found["clustering"] = Target(clustering.split(), simulated, cold=True)
    own = {"JAXAD_CACHE": "{state}/cache", "JAX_COMPILATION_CACHE_DIR": "{state}/xla"}
    whole = training("toptagging_ae", out, "--config.data.n_simulated=100")
    found["empty caches"] = whole._replace(environment=own, cold=True)
    evaluate = ["evaluate.py", "--workdir={state}/teacher", "--bootstrap=20"]
    found["evaluate"] = Target(evaluate, evaluated)
    score = f"-m jaxad score {out}/teacher --out {{state}}/scores.h5 --key Particles"
    events = [f"{out}/events/{number}.npy" for number in range(12)]
    found["score"] = Target([*score.split(), *events], scored)
    export = f"-m jaxad export {out}/teacher --out {{state}}/exported --fpr 0.7"
    found["export"] = Target(export.split(), exported)
    names = sorted(p.stem for p in (ROOT / "configs").glob("*.py") if p.stem != "__init__")
    found |= {name: training(name, out) for name in names}
    for name in SHALLOW:
        found[name] = training("adc2021_shallow", out, f"--config.method.name={name}")
    return found


def prepare(out: Path) -> None:
    """Random jets and trigger events, and the run that the student, scores and export ask for."""
    rng = np.random.default_rng(0)
    jets = rng.gamma(2, 20, (600, 30, 3)) * [1, 0.01, 0.01]
    out.mkdir(parents=True, exist_ok=True)
    np.savez(out / "jets.npz", constituents=jets.astype(np.float32), label=np.arange(600) % 5)
    np.savez(out / "features.npz", x=jets[:, :4].reshape(600, 12).astype(np.float32))
    raw = np.zeros((6000, 2101), np.float32)
    particles = raw[:, :-1].reshape(6000, 700, 3)
    particles[:, :40] = rng.gamma(2, 30, (6000, 40, 3)) * [1, 0.005, 0.005]
    particles[:, 1:40:2, 2] += np.pi
    write_fixed(out / "raw.h5", "df", [str(number) for number in range(2101)], raw)
    (out / "events").mkdir(exist_ok=True)
    for number in range(12):
        x = rng.gamma(2, 20, (3000, 19, 3)) * [1, 0.01, 0.01] * (rng.random((3000, 19, 1)) < 0.5)
        np.save(out / "events" / f"{number}.npy", x.astype(np.float32))
    command = [sys.executable, "train.py", *TEACHER, f"--workdir={out}/teacher"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)


class Bench:
    """Trials of one target in one folder."""

    def __init__(self, name: str, target: Target, out: Path, rng: np.random.Generator):
        self.target, self.out, self.rng = target, out, rng
        self.state = out / "state" / name.replace(" ", "_")
        self.log = self.state.with_name(f"{self.state.name}.log")
        self.count = Count()

    def fresh(self) -> None:
        """The folder as the command finds it at first."""
        shutil.rmtree(self.state, ignore_errors=True)
        self.state.mkdir(parents=True)
        if self.target.result is evaluated:
            shutil.copytree(self.out / "teacher", self.state / "teacher")

    def start(self, cold: bool) -> Process:
        """The command, going on with what is in the folder."""
        command = [part.format(state=self.state) for part in self.target.command]
        own = {k: v.format(state=self.state) for k, v in self.target.environment.items()}
        return Process(command, own, self.log, forked=not cold)

    def undisturbed(self, cold: bool) -> tuple[Result, float, int]:
        """Result, seconds and number of new files of a run left alone."""
        self.fresh()
        end = watched(self.start(cold), self.state, None, 3600)
        if end.code != 0:
            sys.exit(f"{self.state}: ended with {end.code} though undisturbed: see {self.log}")
        return self.target.result(self.state), end.seconds, end.n_new

    def trial(self, kills: int, cold: bool, expected: tuple[Result, float, int]) -> str | None:
        """At most `kills` in a row, then the end; what is wrong, or None."""
        result, seconds, n_new = expected
        self.fresh()
        for _ in range(kills):
            fault = draw(self.rng, seconds, n_new)
            end = watched(self.start(cold), self.state, fault, 20 * seconds + 300)
            if end.sent:
                self.count.injected[f"{fault.kind} {fault.signal.name}"] += 1
            if end.code == 0:
                break
            if not (end.sent and end.code in KILLED):
                return f"exit code {end.code} after {fault}"
        end = watched(self.start(cold), self.state, None, 20 * seconds + 300)
        if end.code != 0:
            return f"exit code {end.code} when left alone"
        odd = differences(self.target.result(self.state), result)
        return f"differs in {', '.join(odd[:5])}" if odd else None

    def measure(self, kills: int, cold_share: float, bar: tqdm.tqdm) -> Count:
        """Trials until `kills` signals were sent, a share of them in a Python of their own."""
        count, began, expected = self.count, time.monotonic(), {}
        while (done := count.injected.total()) < kills:
            cold = self.target.cold or bool(self.rng.random() < cold_share)
            if cold not in expected:
                expected[cold] = self.undisturbed(cold)
            problem = self.trial(min(IN_A_ROW, kills - done), cold, expected[cold])
            new = count.injected.total() - done
            bar.update(new)
            if problem is None:
                count.survived += new
            else:
                count.lost += max(new, 1)
                count.problems.append(problem)
                shutil.copytree(self.state, self.out / "lost" / f"{self.state.name}-{done}")
        count.seconds = time.monotonic() - began
        return count


def table(counts: dict[str, Count]) -> str:
    """A row a target: faults by kind, survived, lost."""
    rows = {n: [*(c.injected[k] for k in KINDS), c.survived, c.lost] for n, c in counts.items()}
    rows["all"] = [sum(column) for column in zip(*rows.values(), strict=True)]
    lines = [f"{'target':<22}" + "".join(f"{k:>17}" for k in (*KINDS, "survived", "lost"))]
    lines += [f"{name:<22}" + "".join(f"{n:>17}" for n in row) for name, row in rows.items()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=8, help="of every target (%(default)s)")
    parser.add_argument("--cold", type=float, default=0.2, help="share of trials (%(default)s)")
    parser.add_argument("--targets", default="", help="NAME,NAME,...; default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("faults"), help="default: %(default)s")
    args = parser.parse_args()
    out = args.out.resolve()
    os.environ.update(environment(out))
    sys.path.insert(0, str(ROOT))
    tqdm.tqdm.monitor_interval = 0  # no thread that a fork would break
    # tqdm's own lock is shared with forked processes: one that is killed would keep it for ever.
    tqdm.tqdm.set_lock(threading.RLock())
    import_programs()
    known = targets(out)
    chosen = args.targets.split(",") if args.targets else list(known)
    if unknown := set(chosen) - set(known):
        parser.error(f"--targets: {unknown.pop()!r} is none of {', '.join(known)}")
    try:
        claim(out, "choose another --out")
    except UserError as error:
        parser.error(str(error))
    prepare(out)
    rng, counts = np.random.default_rng(args.seed), {}
    with tqdm.tqdm(desc="trials", total=args.kills * len(chosen), unit="fault") as bar:
        for name in chosen:
            bar.set_description(name)
            counts[name] = Bench(name, known[name], out, rng).measure(args.kills, args.cold, bar)
            text = json.dumps({key: vars(count) for key, count in counts.items()}, indent=1)
            (out / "faults.json").write_text(text + "\n")
    print(table(counts))
    sys.exit(any(count.lost for count in counts.values()))


if __name__ == "__main__":
    main()
