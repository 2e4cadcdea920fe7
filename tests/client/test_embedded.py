"""Is the server found where it is, and is what is no server told apart from one?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from leyden.client import embedded
from leyden.client.embedded import connect, find, start, stop
from leyden.core.errors import ServerError, UnreachableError
from leyden.core.home import Home
from leyden.core.process import alive


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").create()


def announce(home: Home, pid: int, url: str = "http://127.0.0.1:9") -> None:
    home.server_file.write_text(json.dumps({"url": url, "pid": pid, "token": "t", "version": "0"}))


def test_only_a_living_process_is_found(home: Home) -> None:
    assert find(home) is None
    announce(home, os.getpid())
    found = find(home)
    assert found is not None
    assert (found.url, found.token, found.pid) == ("http://127.0.0.1:9", "t", os.getpid())
    assert connect(home, {}) is None  # it lives, but answers nothing
    assert stop(home) is None  # so it is not ours to end
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        announce(home, child.pid)
        child.wait()
    assert find(home) is None
    for torn in ("", "{", "[]", '{"url": "x"}', '{"url": "x", "token": "t", "pid": "many"}'):
        home.server_file.write_text(torn)
        assert find(home) is None


def test_a_dead_child_that_nobody_waited_for_is_not_alive() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is still a zombie
    assert not alive(child.pid)
    child.wait()
    assert alive(os.getpid())


def test_the_environment_wins_over_the_home(home: Home) -> None:
    announce(home, os.getpid())
    client = connect(home, {"LEYDEN_API_URL": "http://other:1", "LEYDEN_TOKEN": "mine"})
    assert client is not None
    assert (client.endpoint.url, client.endpoint.token) == ("http://other:1", "mine")


def test_a_server_that_cannot_start_shows_the_end_of_its_log(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.log_file.write_text("of an earlier one\n")
    (home.root / "leyden.db").mkdir()  # the store cannot open this
    with pytest.raises(ServerError, match="ended with exit code") as raised:
        start(home)
    assert "of an earlier one" not in str(raised.value)
    assert "opening the database" in str(raised.value)
    assert str(home.log_file) in str(raised.value)
    monkeypatch.setattr(embedded, "command_line", lambda *_: [sys.executable, "-c", "import time; time.sleep(60)"])
    with pytest.raises(ServerError, match="did not answer within 0 s"):
        start(home, deadline_s=0.2)


def test_a_starter_that_hangs_does_not_hang_the_next(home: Home) -> None:
    import fcntl

    with (home.root / "starting.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UnreachableError, match="another command is starting"):
            start(home, deadline_s=0.1)
