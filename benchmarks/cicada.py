"""How well students follow their teacher on regions that trained neither: the table of trigger.md.

python benchmarks/cicada.py TEACHER STUDENT [STUDENT ...]

Work directories of `cicada_teacher` and `cicada`, of the same data. Spearman's correlation of
scores on the test background, on 1,000 events of each signal, and on all of these together; the
mean absolute difference from the target on background; the rate of the test background at the
teacher's threshold, which is set on the same events; and the overlap of the highest 1 %.
"""

import argparse
import sys

import numpy as np
from scipy.stats import spearmanr

import jaxad
from jaxad import data
from jaxad.commands import cli
from jaxad.methods.cicada import targets
from jaxad.metrics.agreement import overlap

FPR = 1e-2
N_SIGNAL = 1_000  # events of each signal


def with_all(scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Scores of samples, and of all of them."""
    return scores | {"all": np.concatenate(list(scores.values()))}


def main(teacher_run: str, *runs: str) -> None:
    """Print a table."""
    teacher = jaxad.load(teacher_run)
    dataset = data.load(teacher.config.data)
    samples = {"background": dataset.test["x"]}
    samples |= {name: rows["x"][:N_SIGNAL] for name, rows in dataset.signals.items()}
    wanted = with_all({name: targets(teacher(x)) for name, x in samples.items()})
    threshold = np.quantile(wanted["background"], 1 - FPR)
    n = len(wanted["background"])

    def rate(scores: np.ndarray) -> str:
        fpr = np.mean(scores >= threshold)
        return f"{fpr:.4f} ± {np.sqrt(fpr * (1 - fpr) / n):.4f}"

    columns = ["", *wanted, "difference", f"rate at {threshold:.1f}", "overlap"]
    print("|", " | ".join(columns), "|")
    print("|", " | ".join("---" for _ in columns), "|")
    empty = ["" for _ in wanted]
    print("|", " | ".join(["teacher", *empty, "", rate(wanted["background"]), ""]), "|")
    for run in runs:
        student = jaxad.load(run)
        scores = with_all({name: student(x) for name, x in samples.items()})
        cells = [f"{spearmanr(scores[name], wanted[name])[0]:.3f}" for name in wanted]
        own, target = scores["background"], wanted["background"]
        cells += [f"{np.mean(np.abs(own - target)):.2f}", rate(own)]
        cells.append(f"{overlap(own, target):.2f}")
        exposure = f"student, outliers {student.config.method.outliers:g}"
        print("|", " | ".join([exposure, *cells]), "|")
    print(f"{len(dataset.train['x']):,} events trained, {n:,} tested")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("teacher", help="work directory of cicada_teacher")
    parser.add_argument("students", nargs="+", help="work directories of cicada")
    given = parser.parse_args()
    sys.exit(cli.exit_code(lambda: main(given.teacher, *given.students)))
