"""What a command waits for before it does anything."""

import subprocess
import sys

LATE = ("blosc2", "distrax", "matplotlib", "optax", "scipy", "sklearn")


def test_scoring_and_training_start_without_what_few_methods_need():
    """Half of the start of `jaxad train` was the import of these."""
    program = "import sys, jaxad.scorer, jaxad.commands.train; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()).isdisjoint(LATE)
