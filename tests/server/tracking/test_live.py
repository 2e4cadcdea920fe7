"""Do open dashboards hear of new points and changed runs, once each, and of nothing else?"""

from __future__ import annotations

import threading
from urllib.parse import quote

import psutil

from leyden.core.ids import new_id
from leyden.track import frames
from tests.conformance.until import until
from tests.server.running import Running
from tests.server.tracking.streams import follow


class Pushing:
    """A run whose frames are sent to a server."""

    def __init__(self, server: Running, file: str = "metrics/a1-r0.frames") -> None:
        self.id, self._server, self._file, self._offset = new_id(), server, file, 0

    def log(self, steps: range, value: float = 0.0, names: tuple[str, ...] = ("loss",)) -> None:
        rows = [[value + step] * len(names) for step in steps]
        data = frames.encode(names, list(steps), [1000.0 + step for step in steps], rows)
        path = f"/api/runs/{self.id}/files/{self._file}?offset={self._offset}"
        status, answer = self._server.ask("PUT", path, data)
        assert status == 200, answer
        self._offset = answer["size_bytes"]

    def seen(self) -> None:
        until(lambda: self._server.ask("GET", f"/api/runs/{self.id}")[0] == 200)


def test_new_points_come_once_and_a_client_that_comes_back_misses_none(shared: Running) -> None:
    run = Pushing(shared)
    run.log(range(5), names=("loss", "a,b/ü"))
    run.seen()
    path = f"/api/live?run={run.id}&name=loss&name={quote('a,b/ü')}"
    with follow(shared, f"{path}&since=1002") as stream:
        first = stream.next()["points"]
        assert first["loss"] == {"steps": [3, 4], "times": [1003.0, 1004.0], "values": [3.0, 4.0], "rank": 0}
        assert first["a,b/ü"]["steps"] == [3, 4]
        run.log(range(5, 7))
        assert stream.next()["points"] == {
            "loss": {"steps": [5, 6], "times": [1005.0, 1006.0], "values": [5.0, 6.0], "rank": 0}
        }
        last = stream.last_id
    run.log(range(7, 9))
    with follow(shared, f"{path}&since={last}") as stream:
        assert stream.next()["points"]["loss"]["steps"] == [7, 8]


def test_many_points_come_as_few(shared: Running) -> None:
    run = Pushing(shared)
    run.log(range(1))
    run.seen()
    with follow(shared, f"/api/live?run={run.id}&name=loss&since=0") as stream:
        assert stream.next()["points"]["loss"]["steps"] == [0]
        run.log(range(1, 20_001))
        steps = stream.next()["points"]["loss"]["steps"]
        assert len(steps) <= 500
        assert steps[-1] == 20_000


def test_a_later_attempt_says_to_draw_anew_and_other_ranks_stand_beside(shared: Running) -> None:
    run = Pushing(shared)
    run.log(range(10))
    run.seen()
    again = Pushing(shared, "metrics/a2-r0.frames")
    again.id = run.id
    other = Pushing(shared, "metrics/a1-r1.frames")
    other.id = run.id
    with follow(shared, f"/api/live?run={run.id}&name=loss&since=1008") as stream:
        assert stream.next()["points"]["loss"]["steps"] == [9]
        other.log(range(2))
        assert stream.next()["points"]["loss"] == {
            "steps": [0, 1],
            "times": [1000.0, 1001.0],
            "values": [0.0, 1.0],
            "rank": 1,
        }
        again.log(range(5, 8), value=100.0)
        assert stream.next() == {"reset": True}
    curve, beside = shared.get(f"/api/runs/{run.id}/series?name=loss")
    assert curve["values"] == [0.0, 1.0, 2.0, 3.0, 4.0, 105.0, 106.0, 107.0]
    assert (beside["rank"], beside["count"]) == (1, 2)


def test_the_table_says_which_runs_changed(shared: Running) -> None:
    with follow(shared, "/api/live?table=1") as stream:
        before = stream.next()
        assert before["changed"] == []
        job_id = shared.submit("pass")
        run = Pushing(shared)
        run.log(range(3))
        changed: set[str] = set()
        while not {job_id, run.id} <= changed:
            said = stream.next()
            changed |= set(said["changed"])
            assert said["version"] > before["version"]
    shared.wait(job_id)


def test_twenty_dashboards_cost_the_server_little(shared: Running) -> None:
    """Each watches the table and one run that logs five times a second; together at most 5 % of a core is aimed at.

    The bound here is wider, as a machine that runs other tests beside is slower.
    """
    run = Pushing(shared)
    run.log(range(5))
    run.seen()
    assert shared.process
    server = psutil.Process(shared.process.pid)
    heard = [0] * 20
    stop = threading.Event()

    def watch(number: int) -> None:
        with follow(shared, f"/api/live?run={run.id}&name=loss&since=0") as stream:
            while not stop.is_set():
                stream.next()
                heard[number] += 1

    threads = [threading.Thread(target=watch, args=(number,), daemon=True) for number in range(20)]
    for one in threads:
        one.start()
    until(lambda: all(heard))
    before, step, pause = sum(server.cpu_times()[:2]), 5, threading.Event()
    for _ in range(15):
        run.log(range(step, step + 1))
        step += 1
        pause.wait(0.2)
    used = sum(server.cpu_times()[:2]) - before
    assert used < 0.75, f"{used:.2f} s of 3"
    stop.set()
    run.log(range(step, step + 1))
    for one in threads:
        one.join(10)
    assert all(count > 3 for count in heard)


def test_a_stream_ends_when_the_server_stops(server: Running) -> None:
    run = Pushing(server)
    run.log(range(2))
    run.seen()
    with server.open("GET", f"/api/live?run={run.id}&name=loss") as response:
        response.readline()
        assert server.stop() in (0, -15)
        assert b"data" not in response.read()


def test_what_makes_no_sense_is_refused(shared: Running) -> None:
    for query in ("", "run=x", "table=1&run=x", "run=zzzz&name=loss"):
        assert shared.ask("GET", f"/api/live?{query}")[0] in (400, 404)


def test_a_stream_ends_where_the_points_cannot_be_read_and_others_go_on(server: Running) -> None:
    run, other = Pushing(server), Pushing(server)
    for one in (run, other):
        one.log(range(2))
        one.seen()
    with (
        follow(server, f"/api/live?run={other.id}&name=loss&since=0") as beside,
        server.open("GET", f"/api/live?run={run.id}&name=loss") as response,
    ):
        beside.next()
        response.readline()
        (server.home / "runs" / run.id / "metrics.parquet").write_bytes(b"no such thing")
        assert b"data" not in response.read()  # it ends
        other.log(range(2, 3))
        assert beside.next()["points"]["loss"]["steps"] == [2]
    status, error = server.ask("GET", f"/api/runs/{run.id}/series?name=loss")
    assert (status, "is damaged" in error["found"]) == (400, True)
