"""Shared fixtures: where the real samples lie, and a compilation cache for the suite."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real events, named by JAXAD_TEST_DATA; tests that need it skip without it."""
    folder = os.environ.get("JAXAD_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("JAXAD_TEST_DATA names no folder of real events")
    return Path(folder)
