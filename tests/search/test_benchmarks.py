"""The benchmarks of pseudo-experiments run, as small as can be."""

import pytest

from benchmarks import calibration, pseudo


@pytest.mark.long
def test_rates_are_printed(capsys):
    pseudo.main(["--tiny"])
    out = capsys.readouterr().out
    assert "member-steps/s" in out
    assert "| 120,000 |" in out


@pytest.mark.long
def test_what_is_wrong_with_which_way_is_printed(capsys):
    calibration.main(["--toys=40", "--sets=2"])
    out = capsys.readouterr().out
    assert out.count("| in-sample | 0.") == 2
    assert "| 40 |" in out
