"""Plugin of pytest: the outcome of every test, in one line of a file as soon as it is known."""

import json
import os
from pathlib import Path

import pytest

FILE = "JAXAD_OUTCOMES"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Append what counts of a test: its call, or a set-up or end that went wrong."""
    if "PYTEST_XDIST_WORKER" in os.environ or FILE not in os.environ:
        return
    if report.when != "call" and report.passed:
        return
    crash = getattr(report.longrepr, "reprcrash", None)
    reason = crash.message if crash else str(report.longrepr or "")
    if report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2]
    lines = [text.strip() for text in reason.splitlines() if text.strip()]
    found = {
        "test": report.nodeid,
        "outcome": report.outcome if report.when == "call" or report.skipped else "error",
        "reason": " / ".join(lines[:4])[:400],
        "seconds": round(report.duration, 1),
    }
    with Path(os.environ[FILE]).open("a") as file:
        file.write(json.dumps(found) + "\n")
