"""What is installed from a wheel works where there is no repository."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from jaxad import __version__

ROOT = Path(__file__).parents[1]
FILES = ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of the repository, of what a release is made of."""
    source = tmp_path_factory.mktemp("source")
    for name in (*FILES, "jaxad", "configs"):
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source)
    return source


@pytest.fixture(scope="module")
def installed(source, tmp_path_factory) -> Path:
    """Folder with the content of a wheel built from a copy of the repository."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "setuptools" in done.stderr:
        pytest.skip("setuptools, which builds the wheel, cannot be fetched")
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(out.glob("jaxad-*.whl"))) as wheel:
        wheel.extractall(out / "content")
    return out / "content"


def _shipped() -> list[Path]:
    """Modules, configs, tables: every file of the package."""
    files = [*(ROOT / "jaxad").rglob("*"), *(ROOT / "configs").glob("*.py")]
    return [path for path in files if path.is_file() and "__pycache__" not in path.parts]


@pytest.mark.slow
def test_wheel_holds_every_file_of_the_package(installed):
    for path in _shipped():
        place = path.relative_to(ROOT)
        place = Path("jaxad") / place if place.parts[0] == "configs" else place
        assert (installed / place).read_bytes() == path.read_bytes(), place
    (entry_points,) = installed.glob("*.dist-info/entry_points.txt")
    assert "jaxad = jaxad.__main__:main" in entry_points.read_text()


@pytest.mark.slow
def test_installed_command_finds_a_config_by_its_name(installed, tmp_path):
    flags = ["--config=adc2021_ae:smoke", "--config.data.source=nowhere", "--workdir=run"]
    done = subprocess.run(
        [sys.executable, "-m", "jaxad", "train", *flags],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "exercise" in done.stdout  # of the config, which is printed first
    assert done.stderr.startswith("error: nowhere"), done.stderr
    assert done.returncode == 2


def _run(*command, cwd, **environment):
    own = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=own | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def released(source, tmp_path_factory) -> Path:
    """Folder with the sdist, and the wheel that was made from it, by `python -m build`."""
    folder = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "venv", folder / "tools", cwd=folder)
    python = folder / "tools" / "bin" / "python"
    _run(python, "-m", "pip", "install", "--quiet", "build", cwd=folder)
    _run(python, "-m", "build", "--outdir", folder, source, cwd=folder)
    return folder


@pytest.mark.long
def test_source_distribution_holds_every_file_of_the_package(released):
    with tarfile.open(released / f"jaxad-{__version__}.tar.gz") as archive:
        held = {name.partition("/")[2]: archive.extractfile(name) for name in archive.getnames()}
        for path in _shipped():
            place = path.relative_to(ROOT)
            place = Path("jaxad") / place if place.parts[0] == "configs" else place
            assert held[str(place)].read() == path.read_bytes(), place
    assert set(FILES) - {"MANIFEST.in"} <= set(held)
    assert not any(name.startswith("tests/") for name in held)


@pytest.mark.long
def test_what_is_released_trains_in_a_bare_environment(released, tmp_path):
    """With the dependencies that pip finds and nothing else, on a file of one's own."""
    _run(sys.executable, "-m", "venv", tmp_path / "bare", cwd=tmp_path)
    binaries = tmp_path / "bare" / "bin"
    (wheel,) = released.glob("jaxad-*.whl")
    _run(binaries / "pip", "install", "--quiet", wheel, cwd=tmp_path)
    label = np.arange(2000) % 4 == 0
    x = np.random.default_rng(0).normal(2.0 * label[:, None], 1, (2000, 5)).astype(np.float32)
    np.savez(tmp_path / "own.npz", x=x, label=label.astype(np.int32))
    jaxad, settings = binaries / "jaxad", {"JAX_PLATFORMS": "cpu"}
    assert __version__ in _run(jaxad, "--version", cwd=tmp_path)
    assert "aspen" in _run(jaxad, "data", "list", cwd=tmp_path)
    own = ["source=own.npz", "label_key=label", "background=0", "signals=odd=1"]
    flags = [f"--config.data.{flag}" for flag in own]
    _run(
        *(jaxad, "train", "--config=features_ae:smoke", *flags, "--workdir=run"),
        cwd=tmp_path,
        **settings,
    )
    assert "odd" in _run(jaxad, "evaluate", "--workdir=run", cwd=tmp_path, **settings)
    _run(jaxad, "score", "run", "own.npz", "--out", "scores.h5", cwd=tmp_path, **settings)
    assert (tmp_path / "run" / "eval" / "report.html").exists()
    assert (tmp_path / "scores.h5").exists()
