"""A platform of one's own: home, project folder, the real `leyden` program; everything is stopped at the end."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from leyden.client import embedded
from leyden.core.home import Home

LEYDEN = str(Path(sys.executable).parent / "leyden")
DEADLINE_S = 60.0


def until(condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """The condition's value once it is true."""
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, f"{what} did not happen within {deadline_s:.0f} s"
        time.sleep(0.02)
    return value


class Platform:
    """Runs `leyden` in `project` with `home` as LEYDEN_HOME."""

    def __init__(self, root: Path) -> None:
        self.home, self.project = Home(root / "home"), root / "project"
        self.project.mkdir(parents=True)
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("LEYDEN_", "GIT_"))}
        self.environ = {
            **kept,
            "LEYDEN_HOME": str(self.home.root),
            "HOME": str(root / "people" / "ada"),
            "NO_COLOR": "1",
        }
        self._started: list[subprocess.Popen[bytes]] = []

    def write(self, name: str, text: str) -> Path:
        path = self.project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def leyden(self, *args: str, check: int | None = 0, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run to the end; `check` is the exit code expected."""
        done = subprocess.run(
            [LEYDEN, *args],
            cwd=self.project,
            env={**self.environ, **environ},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        if check is not None:
            assert done.returncode == check, done.stdout + done.stderr
        return done

    def json(self, *args: str) -> Any:
        return json.loads(self.leyden(*args, "-o", "json").stdout)

    def start(self, *args: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start and return; stopped at the end of the test at the latest."""
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        process = subprocess.Popen([LEYDEN, *args], cwd=self.project, env=self.environ, **streams)
        self._started.append(process)
        return process

    def job_state(self, ref: str = "last") -> str:
        return str(self.json("show", ref)["job"]["state"])

    def close(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()
        if embedded.find(self.home):
            active = [
                job["id"]
                for job in self.json("ps")
                if job["state"] not in ("succeeded", "failed", "cancelled", "timed_out")
            ]
            if active:
                self.leyden("cancel", *active)
                self.leyden("wait", *active, check=None)
            self.leyden("server", "stop")
        try:
            until(lambda: not self.processes(), "the end of all that was started")
        except AssertionError as error:
            raise AssertionError([one.as_dict(["pid", "cmdline", "status"]) for one in self.processes()]) from error

    def processes(self) -> list[psutil.Process]:
        """Whatever still runs of this platform."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("LEYDEN_HOME") == str(
                    self.home.root
                ):
                    found.append(process)
            except psutil.Error:
                continue
        return found


class Terminal:
    """`leyden` on a real terminal, as the leader of its session."""

    def __init__(self, platform: Platform, *args: str, columns: int = 100) -> None:
        self.master, slave = pty.openpty()
        self.process = platform.start(
            *args,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            preexec_fn=_take_terminal,
        )
        os.close(slave)
        self.text = ""

    def read_until(self, wanted: str) -> str:
        end = time.monotonic() + DEADLINE_S
        while wanted not in self.text:
            assert time.monotonic() < end, f"{wanted!r} is not in {self.text!r}"
            self._read(0.1)
        return self.text

    def press_ctrl_c(self) -> None:
        os.write(self.master, b"\x03")

    def end(self) -> int:
        """Read to the end; the exit code."""
        while self._read(DEADLINE_S):
            pass
        return self.process.wait(DEADLINE_S)

    def hang_up(self) -> int:
        """Close the terminal's window; the exit code, negative for a signal."""
        os.close(self.master)
        self.master = -1
        return self.process.wait(DEADLINE_S)

    def close(self) -> None:
        if self.master >= 0:
            os.close(self.master)

    def _read(self, timeout_s: float) -> bool:
        if not select.select([self.master], [], [], timeout_s)[0]:
            return False
        try:
            got = os.read(self.master, 65536)
        except OSError:  # EIO: the other side has gone
            return False
        self.text += got.decode(errors="replace")
        return bool(got)


def _take_terminal() -> None:
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    one = Platform(tmp_path)
    try:
        yield one
    finally:
        one.close()


@pytest.fixture
def terminal(platform: Platform) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def open_one(*args: str) -> Terminal:
        opened.append(Terminal(platform, *args))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()
