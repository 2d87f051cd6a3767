"""Downloads against a real HTTP server on loopback: resume, damage, refusals, no server."""

import fcntl
import hashlib
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from jaxad.__main__ import main as jaxad_main
from jaxad.data import catalogue, download, preset, transfer
from jaxad.data.download import Entry
from jaxad.errors import UserError

CONTENT = bytes(range(256)) * 4096  # 1 MiB
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `files`; `mode` says how it misbehaves, `requests` what it was asked."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {"/data.h5": CONTENT}
        self.mode = ""
        self.cut = len(CONTENT)
        self.requests: list[tuple[str, str | None]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_):
        """A client that refuses what it is offered hangs up: nothing to report."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        server, path = self.server, self.path.partition("?")[0]
        asked = self.headers.get("Range")
        server.requests.append((path, asked))
        if path not in server.files or server.mode == "busy":
            self.send_error(503 if server.mode == "busy" else 404)
            return
        content = server.files[path]
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if asked and start >= len(content):
            self.send_error(416)
            return
        if asked and server.mode != "no ranges":
            self.send_response(206)
            shown = start + 1 if server.mode == "wrong range" else start
            self.send_header("Content-Range", f"bytes {shown}-{len(content) - 1}/{len(content)}")
        else:
            start = 0
            self.send_response(200)
        body = content[start:]
        self.send_header("Content-Length", str(len(body)))
        if server.mode == "page":
            self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(body[: server.cut])
        if server.cut < len(body):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.shutdown()


def test_complete_file_is_checked_and_renamed(server, tmp_path):
    path = transfer.fetch_url(
        f"{server.url}/data.h5", tmp_path / "a" / "data.h5", len(CONTENT), MD5
    )
    assert path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ["data.h5"]
    transfer.fetch_url(f"{server.url}/data.h5", path, len(CONTENT), MD5)
    assert len(server.requests) == 1


def test_partial_file_is_resumed_by_range(server, tmp_path):
    (tmp_path / "data.h5.part").write_bytes(CONTENT[:1000])
    path = transfer.fetch_url(f"{server.url}/data.h5", tmp_path / "data.h5", None, MD5)
    assert path.read_bytes() == CONTENT
    assert server.requests == [("/data.h5", "bytes=1000-")]


def test_broken_connections_are_continued(server, tmp_path):
    server.cut = len(CONTENT) // 3
    path = transfer.fetch_url(f"{server.url}/data.h5", tmp_path / "data.h5", len(CONTENT), MD5)
    assert path.read_bytes() == CONTENT
    assert [asked for _, asked in server.requests][1:] == [
        f"bytes={server.cut * n}-" for n in (1, 2, 3)
    ]


def test_server_without_ranges_restarts(server, tmp_path):
    server.mode = "no ranges"
    (tmp_path / "data.h5.part").write_bytes(b"something else")
    path = transfer.fetch_url(f"{server.url}/data.h5", tmp_path / "data.h5", len(CONTENT), MD5)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("extra", [0, 100])
def test_finished_or_too_long_partial_file(server, tmp_path, extra):
    (tmp_path / "data.h5.part").write_bytes(CONTENT + b"x" * extra)
    path = transfer.fetch_url(f"{server.url}/data.h5", tmp_path / "data.h5", None, MD5)
    assert path.read_bytes() == CONTENT


def test_transfer_without_progress_stops_and_keeps_what_came(server, tmp_path):
    server.cut = 0
    (tmp_path / "data.h5.part").write_bytes(CONTENT[:500])
    with pytest.raises(UserError, match=r"stopped at 500 of 1,048,576 bytes; run again"):
        transfer.fetch_url(f"{server.url}/data.h5", tmp_path / "data.h5", len(CONTENT), MD5)
    assert (tmp_path / "data.h5.part").read_bytes() == CONTENT[:500]


def test_wrong_checksum_is_refused_and_removed(server, tmp_path):
    with pytest.raises(UserError, match="expected MD5 0000, found " + MD5):
        transfer.fetch_url(f"{server.url}/data.h5", tmp_path / "data.h5", len(CONTENT), "0000")
    assert list(tmp_path.iterdir()) == []


def test_wrong_size_on_the_server_is_refused(server, tmp_path):
    with pytest.raises(UserError, match="expected 77 bytes, the server offers 1,048,576"):
        transfer.fetch_url(f"{server.url}/data.h5", tmp_path / "data.h5", 77)
    assert not (tmp_path / "data.h5").exists()


def test_existing_file_of_wrong_size_is_refused(server, tmp_path):
    (tmp_path / "data.h5").write_bytes(b"short")
    with pytest.raises(UserError, match=r"expected 1,048,576 bytes, found 5; delete it"):
        transfer.fetch_url(f"{server.url}/data.h5", tmp_path / "data.h5", len(CONTENT))
    assert server.requests == []


@pytest.mark.parametrize(
    ("mode", "path", "message"),
    [
        ("", "/none.h5", r"no such file there \(HTTP 404\); fetch it elsewhere and save it as /"),
        ("busy", "/data.h5", r"busy \(HTTP 503\); run again later"),
        ("wrong range", "/data.h5", "asked to go on at byte 10, the server answered"),
    ],
)
def test_refusals_of_the_server(server, tmp_path, mode, path, message):
    server.mode = mode
    if mode == "wrong range":
        (tmp_path / "data.h5.part").write_bytes(CONTENT[:10])
    with pytest.raises(UserError, match=message) as error:
        transfer.fetch_url(server.url + path, tmp_path / "data.h5", len(CONTENT), MD5)
    assert server.url in str(error.value)
    assert "\n" not in str(error.value)


def test_no_server_names_url_and_place(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/data.h5"
        with pytest.raises(UserError, match="cannot be reached") as error:
            transfer.fetch_url(url, tmp_path / "data.h5")
    assert url in str(error.value)
    assert str(tmp_path / "data.h5") in str(error.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_full_disk_is_named(server, tmp_path):
    (tmp_path / "data.h5.part").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"data.h5.part: cannot be written \(the disk is full\)"):
        transfer.fetch_url(f"{server.url}/data.h5", tmp_path / "data.h5")


def test_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="cannot be written"):
        transfer.fetch_url(f"{server.url}/data.h5", tmp_path / "file" / "data.h5")


def test_second_process_is_refused(server, tmp_path):
    with (tmp_path / "data.h5.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process"):
            transfer.fetch_url(f"{server.url}/data.h5", tmp_path / "data.h5")


@pytest.mark.parametrize("name", ["../x.h5", "/etc/x", "a/b", "..", "", ".hidden", "a\\b", "a\0b"])
def test_names_cannot_leave_their_folder(tmp_path, name):
    with pytest.raises(UserError, match="not a plain file name"):
        transfer.inside(tmp_path, name)


def test_only_http(tmp_path):
    with pytest.raises(UserError, match="expected an http or https address"):
        transfer.fetch_url("file:///etc/passwd", tmp_path / "x")


def _record(server, number, names):
    files = [{"key": n, "size": len(CONTENT), "checksum": f"md5:{MD5}"} for n in names]
    server.files[f"/api/records/{number}"] = json.dumps({"files": files}).encode()
    for name in names:
        server.files[f"/records/{number}/files/{name}"] = CONTENT


def test_record_is_asked_for_size_and_checksum(server, tmp_path):
    _record(server, 4641460, ["qcd_dijet.h5"])
    path = download.fetch("jets", "qcd_dijet.h5", tmp_path, server.url)
    assert path == tmp_path / "jets" / "qcd_dijet.h5"
    assert path.read_bytes() == CONTENT
    server.files["/records/4641460/files/qcd_dijet.h5"] = CONTENT[::-1]
    path.unlink()
    with pytest.raises(UserError, match="expected MD5"):
        download.fetch("jets", "qcd_dijet.h5", tmp_path, server.url)


def test_filtered_name_is_found(server, tmp_path):
    _record(server, 5055454, ["leptoquark_LOWMASS_lepFilter_13TeV_filtered.h5"])
    name = "leptoquark_LOWMASS_lepFilter_13TeV.h5"
    path = download.fetch("adc2021", name, tmp_path, server.url)
    assert path.name.endswith("_filtered.h5")
    assert download.fetch("adc2021", name, tmp_path, server.url) == path
    assert len(server.requests) == 2


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"files": 3}'])
def test_record_that_is_no_record(server, tmp_path, body):
    server.files["/api/records/4641460"] = body
    with pytest.raises(UserError, match="expected the description of a Zenodo record"):
        download.fetch("jets", "qcd_dijet.h5", tmp_path, server.url)


def test_record_without_the_file(server, tmp_path):
    _record(server, 4641460, ["other.h5"])
    with pytest.raises(UserError, match=r"no file qcd_dijet.h5; the record has other.h5"):
        download.fetch("jets", "qcd_dijet.h5", tmp_path, server.url)


def test_known_size_is_asked_of_nobody(server, tmp_path):
    server.files["/records/2603256/files/val.h5"] = CONTENT
    with pytest.raises(UserError, match="expected 347,378,076 bytes, the server offers 1,048,576"):
        download.fetch("toptagging", "val.h5", tmp_path, server.url)
    assert [path for path, _ in server.requests] == [
        "/records/2603256/files/val.h5",
        "/api/records/2603256/files/val.h5/content",
    ]


def test_unknown_set_and_file(tmp_path):
    with pytest.raises(UserError, match="expected one of toptagging, adc2021"):
        download.fetch("nothing", "x", tmp_path)
    with pytest.raises(UserError, match=r"expected one of train.h5, val.h5, test.h5"):
        download.fetch("toptagging", "x", tmp_path)


PAGE = b"\xef\xbb\xbf\n<!DOCTYPE html><title>Log in</title>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1048576\n"


@pytest.mark.parametrize(("body", "what"), [(PAGE, "a web page"), (POINTER, "a Git LFS pointer")])
def test_a_page_in_the_place_of_a_file_is_named_and_never_kept(server, tmp_path, body, what):
    server.files["/data.h5"] = body
    server.mode = "no ranges"
    part = tmp_path / "data.h5.part"
    part.write_bytes(CONTENT[:1000])
    for size, md5 in ((len(CONTENT), MD5), (None, None)):
        with pytest.raises(UserError, match=f"sent {what} in the place of the file; nothing"):
            transfer.fetch_url(f"{server.url}/data.h5", tmp_path / "data.h5", size, md5)
        assert part.read_bytes() == CONTENT[:1000]
    (tmp_path / "data.h5").write_bytes(body)
    with pytest.raises(UserError, match=f"expected the published file, found {what} of .* delete"):
        transfer.fetch_url(f"{server.url}/data.h5", tmp_path / "data.h5", len(CONTENT), MD5)


def test_a_long_page_in_parts_is_not_appended(server, tmp_path):
    server.files["/data.h5"], server.mode = PAGE + bytes(2000), "page"
    (tmp_path / "data.h5.part").write_bytes(CONTENT[:1000])
    with pytest.raises(UserError, match="sent a web page"):
        transfer.fetch_url(f"{server.url}/data.h5", tmp_path / "data.h5", None, MD5)
    assert (tmp_path / "data.h5.part").read_bytes() == CONTENT[:1000]


def test_the_next_address_goes_on_where_one_stopped(server, tmp_path, capsys):
    server.files |= {"/page.h5": PAGE, "/wrong.h5": CONTENT[::-1]}
    (tmp_path / "data.h5.part").write_bytes(CONTENT[:1000])
    names = ("none", "page", "data", "never")
    path = download.fetch_from(
        [f"{server.url}/{name}.h5" for name in names], tmp_path / "data.h5", len(CONTENT), MD5
    )
    assert path.read_bytes() == CONTENT
    asked = [("/none.h5", "bytes=1000-"), ("/page.h5", "bytes=1000-"), ("/data.h5", "bytes=1000-")]
    # The page is shorter than what is there: asked once more, from its beginning.
    assert [r for r in server.requests if r != ("/page.h5", None)] == asked
    told = capsys.readouterr().err
    assert "none.h5: no such file there (HTTP 404); trying another address" in told
    path.unlink()
    path = download.fetch_from(
        [f"{server.url}/{name}.h5" for name in ("wrong", "data")], path, len(CONTENT), MD5
    )
    assert path.read_bytes() == CONTENT
    assert "wrong.h5: expected MD5" in capsys.readouterr().err


def test_what_every_address_did_is_told(server, tmp_path):
    server.files["/page.h5"] = PAGE
    with pytest.raises(UserError) as error:
        download.fetch_from(
            [f"{server.url}/{name}" for name in ("none.h5", "page.h5")], tmp_path / "data.h5"
        )
    message = str(error.value)
    assert message.startswith("data.h5: none of 2 addresses gave it (") and "\n" not in message
    assert "HTTP 404" in message and "sent a web page" in message
    assert message.endswith(f"save it as {tmp_path / 'data.h5'}")


def test_mirrors_of_a_file(server, tmp_path):
    server.files["/mirror"] = CONTENT
    entry = Entry(1, len(CONTENT), MD5, (f"{server.url}/mirror",))
    path = download.fetch_entry("data.h5", entry, tmp_path, server.url)
    assert path.read_bytes() == CONTENT
    assert [path for path, _ in server.requests] == [
        *("/records/1/files/data.h5", "/api/records/1/files/data.h5/content", "/mirror")
    ]
    path.write_bytes(CONTENT[::-1])
    assert download.fetch_entry("data.h5", entry, tmp_path, server.url) == path
    with pytest.raises(UserError, match=r"expected MD5 .*; delete it to download it again"):
        download.fetch_entry("data.h5", entry, tmp_path, server.url, whole=True)


def test_what_its_record_does_not_check_is_not_fetched(server, tmp_path):
    listed = {"files": [{"key": "qcd_dijet.h5", "size": 3}]}
    server.files["/api/records/4641460"] = json.dumps(listed).encode()
    with pytest.raises(UserError, match=r"expected its MD5, found none, .*/records/4641460 and"):
        download.fetch("jets", "qcd_dijet.h5", tmp_path, server.url)
    assert len(server.requests) == 1 and not (tmp_path / "jets").exists()


def test_the_table_names_no_file_twice():
    every = [entry for known in download.SETS.values() for entry in known.files.items()]
    digests = [entry.md5 for _, entry in every if entry.md5]
    assert len(digests) == len(set(digests)) >= 83
    mirrors = [url for _, entry in every for url in entry.mirrors]
    assert len(mirrors) == len(set(mirrors)) and all(url.startswith("https://") for url in mirrors)
    for name, known in download.SETS.items():
        assert "{folder}" in known.read and known.title
        for file, entry in known.files.items():
            assert transfer.inside(Path(name), file) and entry.zenodo
            assert entry.md5 is None or len(entry.md5) == 32


def test_command_lists_the_table(capsys):
    assert jaxad_main(["data", "fetch"]) == 0
    listed = capsys.readouterr().out
    assert all(file in listed for known in download.SETS.values() for file in known.files)
    assert all(file in listed for file in preset.read("jetclass").md5)
    assert jaxad_main(["data", "describe", "toptagging"]) == 0
    assert "1,038,496,555 B  45663819f47c13724f67eb0fd80bfa5c" in capsys.readouterr().out


def test_command_fetches_what_is_missing_and_says_what_is_next(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "download" / "mine"
    folder.mkdir(parents=True)
    (tmp_path / "mine.toml").write_text(
        'title = "t"\nrecord = "https://zenodo.org/records/1"\n[settings]\nx_key = "x"\n'
        f'[md5]\n"a.tar" = "{MD5}"\n"b c.h5.gz" = "{MD5}"\n'
    )
    for name in ("a.tar", "b c.h5.gz"):
        (folder / name).write_bytes(CONTENT)
    assert jaxad_main(["data", "fetch", "mine.toml", f"--folder={tmp_path}"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("mine.toml: 2 files, sizes as the servers tell, into ")
    assert shown[1:] == [
        *(str(folder / "a.tar"), str(folder / "b c.h5.gz")),
        f"unpack it: tar -xf {folder}/a.tar -C {folder}",
        f"unpack it: gunzip --keep '{folder}/b c.h5.gz'",
        f"next: --config.data.preset=mine.toml --config.data.source={folder}",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fetch", "aspen"], r"aspen: no checksums .* get Run\[GH\]_batch\*.h5 from record 16505 "),
        (
            ["fetch", "atlas_toptag"],
            r"train_nominal\*.h5 from https://opendata.cern.ch/record/80030",
        ),
        (["fetch", "omnilearned"], r"get train/\*.h5 from where it is published, then --config"),
        (["fetch", "toptaging"], "toptaging: expected one of .* did you mean 'toptagging'"),
        (["fetch", "toptagging", "x.h5"], "no file x.h5; expected of train.h5, val.h5, test.h5"),
        (["download", "toptagging"], "its name is now jaxad data fetch"),
        (["describe", "nothing"], "expected one of"),
    ],
)
def test_what_is_not_fetched(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.setenv("JAXAD_CACHE", str(tmp_path))
    assert jaxad_main(["data", *arguments]) == 2
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1
    with pytest.raises(UserError, match=message):
        raise UserError(told)


def test_names_that_are_read_as_they_are():
    assert [catalogue.unpacking(Path(name)) for name in ("a.h5", "a.npz", "a.root")] == [""] * 3
    assert catalogue.unpacking(Path("d/a.tar.gz")) == "tar -xf d/a.tar.gz -C d"
