"""Tables written as text, by whatever program."""

import gzip

import pytest
from named_tables import NOTHING, flat, sample, table_of, write_csv

from jaxad import data
from jaxad.data.columns import open_columns
from jaxad.errors import UserError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected the names of the columns, found nothing"),
        ("1,2\n3,4\n", "line 1: expected the names of the columns, found numbers"),
        ("m,m\n3,4\n", "line 1: the name 'm' twice"),
        ("m,\n3,4\n", "line 1: a column without a name"),
        ('"m",a\n3,4\n', "line 1: names in quotes"),
        ("m,a\n3,4\n5\n", "line 3: expected 2 fields as in line 1, found 1"),
        ("m,a\n3,4\n5,6,7\n", "line 3: expected 2 fields as in line 1, found 3"),
        ("m,a\n3,4\n\n5,6\n", "line 3: expected 2 fields as in line 1, found 1"),
        ('m,a\n3,"4"\n', "line 2: quotes"),
        ("m,a\n3,4\n5,x\n", "line 3: a: expected a number, found 'x'"),
        ("m,a\n3,4\n5,\n", "line 3: a: expected a number, found ''"),
        ("m,a\n3,4\n5.5,1\n", "line 3: m: expected a whole number, found '5.5'"),
        ("m;a\n3;4\n", "line 1: expected names of columns, separated by commas, found 'm;a'"),
        ("m,a\n", "no events"),
    ],
)
def test_a_bad_csv_file_is_named_by_its_line(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError, match=f"a.csv: {message}"):
        table_of(tmp_path / "a.csv", **NOTHING | {"features": "a", "mass": "m", "id": "m"})


def test_csv_blocks_line_ends_and_names(tmp_path, monkeypatch):
    """Blocks cut anywhere, CR LF, blank lines at the end, a header that begins with #."""
    columns = {name: flat(sample())[name] for name in ("mjj", "n", "event")}
    write_csv(tmp_path / "a.csv", columns)
    asked = {"features": "n", "mass": "mjj", "id": "event"}
    whole = table_of(tmp_path / "a.csv", **NOTHING | asked)
    text = (tmp_path / "a.csv").read_bytes()
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf# " + text.replace(b"\n", b"\r\n") + b"\r\n\n")
    for block in (7, 64, 1 << 20):
        monkeypatch.setattr("jaxad.data.text_file.BLOCK", block)
        found = table_of(tmp_path / "a.csv", **NOTHING | asked)
        assert found.info["digest"] == whole.info["digest"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("mjj;x\n1;2\n", "line 1: expected names of columns, separated by commas, found 'mjj;x'"),
        ("mjj x\n1 2\n", "separated by commas, found 'mjj x'"),
        ("# made by me\nmjj,x\n1,2\n", "separated by commas, found 'made by me'"),
        ("mjj,x\r1,2\r3,4\r", "line 1: lines end by CR alone"),
        (",mjj,x\n0,1,2\n", r"without a name: .*pandas .*to_csv\(index=False\)"),
        ("mjj,x\n1,2\n3,\n", "line 3: x: expected a number, found '': write nan for no value"),
        ("mjj,x\n1,NA\n", "line 2: x: expected a number, found 'NA': write nan for no value"),
        ("mjj,x\n1,abc\n", "line 2: x: expected a number, found 'abc'$"),
    ],
)
def test_tables_of_other_programs_are_refused_by_their_cause(text, message, tmp_path):
    (tmp_path / "a.csv").write_bytes(text.encode())
    with pytest.raises(UserError, match=message):
        table_of(tmp_path / "a.csv", **NOTHING | {"features": "x", "mass": "mjj"})


def test_a_table_without_features_is_told_the_setting(tmp_path):
    (tmp_path / "a.csv").write_text("m,b\n1,2\n3,4\n")
    config = data.get_config("events", source=str(tmp_path / "a.csv"), format="features")
    with pytest.raises(UserError, match=r"no column 'x'; found m, b; set data.features to"):
        data.load(config)


def test_lines_inside_gzip_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxad.data.text_file.BLOCK", 200)
    columns = {name: flat(sample())[name] for name in ("mjj", "n")}
    write_csv(tmp_path / "a.csv", columns)
    asked = NOTHING | {"features": "n", "mass": "mjj"}
    packed = tmp_path / "a.csv.gz"
    packed.write_bytes(gzip.compress((tmp_path / "a.csv").read_bytes()))
    expected = table_of(tmp_path / "a.csv", **asked).info["digest"]
    assert table_of(packed, **asked).info["digest"] == expected
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(
        UserError, match=r"a.csv.gz: cannot be read as a gzip file \(Compressed file"
    ):
        table_of(packed, **asked)
    (tmp_path / "b.csv.gz").write_bytes(b"m,a\n1,2\n")
    with pytest.raises(UserError, match=r"b.csv.gz: cannot be read as a gzip file \(Not a gzipped"):
        table_of(tmp_path / "b.csv.gz", **asked)


def test_lines_are_counted_through_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxad.data.text_file.BLOCK", 50)
    lines = [f"{i}.5,{i}" for i in range(100)]
    asked = NOTHING | {"features": "a", "mass": "m"}
    for odd, message in (("1,x", "a: expected a number, found 'x'"), ("1", "expected 2 fields")):
        text = "\n".join(["m,a", *lines[:70], odd, *lines[70:]]) + "\n"
        (tmp_path / "a.csv").write_text(text)
        with pytest.raises(UserError, match=f"a.csv: line 72: {message}"):
            table_of(tmp_path / "a.csv", **asked)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_blank_line_of_a_single_column_is_no_row(tmp_path, end):
    (tmp_path / "w.csv").write_bytes(end.join(["w", "1", "2", "", "3", "4", ""]).encode())
    with (
        open_columns(tmp_path / "w.csv") as columns,
        pytest.raises(UserError, match=r"w\.csv: line 4: blank: drop it"),
    ):
        columns.read(["w"], ())
