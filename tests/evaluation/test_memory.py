"""Memory of an evaluation of events on disk: none an event."""

import pytest

from benchmarks import rows


@pytest.mark.long
def test_no_number_of_a_tested_event_stays_in_memory(tmp_path):
    peaks = []
    for n in (1_000_000, 2_000_000):
        folder = tmp_path / str(n)
        folder.mkdir()
        rows.write_hdf5(folder / "events.h5", n)
        command = rows.tested(str(folder / "events.h5"), folder, "hdf5")
        found, _ = rows.measured(command, folder / "log")
        peaks.append(found["VmHWM"])
    assert peaks[1] < 1e9
    assert peaks[1] - peaks[0] < 8 * 1_000_000  # bytes; a score of every event alone is 4
