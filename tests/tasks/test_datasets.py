"""Files of data sets: found in a folder or downloaded, and never taken unchecked."""

from __future__ import annotations

import hashlib
import http.server
import threading

import pytest

from adaptax.errors import AdaptaxError
from adaptax.tasks.datasets import DataFile

CONTENT = b"what was published"


def file(url="http://127.0.0.1:9/letters.txt", content=CONTENT):
    return DataFile("letters", "letters.txt", url, hashlib.sha256(content).hexdigest())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ADAPTAX_DATA", str(tmp_path))
    (tmp_path / "letters").mkdir()
    return tmp_path / "letters"


def test_a_file_of_ones_own_folder(folder):
    with pytest.raises(AdaptaxError, match=r"There is no .*letters\.txt; put the file from http"):
        file().path()
    (folder / "letters.txt").write_bytes(b"what was publishe")
    with pytest.raises(AdaptaxError, match="is damaged, or another version"):
        file().path()
    (folder / "letters.txt").write_bytes(CONTENT)
    assert file().path() == folder / "letters.txt"


def test_a_download_is_kept_and_checked(tmp_path, monkeypatch):
    pytest.importorskip("pooch", reason="pooch is not installed")
    monkeypatch.delenv("ADAPTAX_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(CONTENT)

        def log_message(self, format, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/letters.txt"
        for _ in range(2):
            assert file(url).path().read_bytes() == CONTENT
        assert len(asked) == 1
        with pytest.raises(AdaptaxError, match=r"letters\.txt of the data set 'letters' could not be had"):
            file(url, b"something else").path()
        server.shutdown()


def test_without_a_network_the_folder_is_named(tmp_path, monkeypatch):
    pytest.importorskip("pooch", reason="pooch is not installed")
    monkeypatch.delenv("ADAPTAX_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(AdaptaxError, match=r"set ADAPTAX_DATA to a folder that holds letters/letters\.txt"):
        file().path()
