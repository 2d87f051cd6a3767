"""What is installed from a wheel works where there is no repository."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = ("pyproject.toml", "README.md", "LICENSE", "jaxad", "configs")


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """Folder with the content of a wheel built from a copy of the repository."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in FILES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "setuptools" in done.stderr:
        pytest.skip("setuptools, which builds the wheel, cannot be fetched")
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(out.glob("jaxad-*.whl"))) as wheel:
        wheel.extractall(out / "content")
    return out / "content"


@pytest.mark.slow
def test_wheel_holds_every_module_and_config(installed):
    package = [
        path for kind in ("py", "toml", "css", "js") for path in ROOT.glob(f"jaxad/**/*.{kind}")
    ]
    for path in [*package, *(ROOT / "configs").glob("*.py")]:
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
