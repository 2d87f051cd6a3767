"""What `make` installs."""

import re
import shutil
import subprocess

import pytest
from documents import ROOT


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_an_active_environment_gets_what_the_shipped_configs_need(tmp_path):
    """EnergyFlow, for EFPs, less wasserstein, which would be compiled."""
    done = subprocess.run(
        ["make", "--dry-run", f"VIRTUAL_ENV={tmp_path}", f"{tmp_path}/.jaxad-installed"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    installs = re.findall(r"pip install (.*)", done.stdout)
    assert any("simulation" in line and "--no-deps" not in line for line in installs)
    (energyflow,) = [line for line in installs if "energyflow" in line]
    assert "--no-deps" in energyflow
    assert not any("efp" in line or "wasserstein" in line for line in installs)
