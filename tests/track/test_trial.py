"""Is it on record what a trial has measured at its rung, and does it do as it is told, whatever the network does?"""

from __future__ import annotations

import math
import socket
from pathlib import Path

import pytest

from leyden.core.errors import ConfigurationError
from leyden.track import run, trial
from leyden.track.read import read_series
from leyden.track.trial import Then, Trial
from tests.track.answers import END, PAUSE, answering, go_on, rungs, trial_environ


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    found = trial_environ(tmp_path / "r", "epoch:3")
    monkeypatch.setattr(run, "_run", None)
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


def test_what_was_measured_is_on_record_before_anybody_is_asked(tmp_path: Path, environ: dict[str, str]) -> None:
    run.log({"val_loss": 0.5}, step=3)
    with answering(go_on("epoch:9")) as sweep:
        one = Trial({**environ, "LEYDEN_API_URL": sweep.url})
        assert (one.reached(2), one.reached(3), one.metric) == (False, True, "val_loss")
        answer = one.ask(3, {"val_loss": 0.5})
    one.take(answer)
    assert (answer.then, answer.budget, answer.why) == (Then.GO_ON, "epoch:9", "")
    assert (one.reached(8), one.reached(9)) == (False, True)
    assert sweep.asked == [{"fence": 7, "resource": 3, "values": {"val_loss": 0.5}}]
    assert sweep.paths == ["/api/attempts/u1/rung Bearer secret"]
    [line] = rungs(tmp_path / "r")
    assert (line["resource"], line["values"]) == (3, {"val_loss": 0.5})
    assert line["at"] > 1e9
    assert list(read_series(tmp_path / "r", "val_loss").values) == [0.5]
    run.finish()


def test_what_is_no_number_is_told_as_null_and_half_a_line_is_ended(tmp_path: Path, environ: dict[str, str]) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r/rungs.jsonl").write_text('{"resource": 1, "val')
    with answering(END) as sweep:
        one = Trial({**environ, "LEYDEN_API_URL": sweep.url})
        one.take(one.ask(3, {"val_loss": math.nan}))
    assert sweep.asked[0]["values"] == {"val_loss": None}
    lines = (tmp_path / "r/rungs.jsonl").read_text().splitlines()
    assert lines[0] == '{"resource": 1, "val'
    assert '"values": {"val_loss": null}' in lines[1]
    assert not one.reached(1e12)  # it is not asked again
    run.finish()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((403, "{}"), "refused with status 403"),
        ((409, "{}"), "refused with status 409"),
        ((200, "<html>"), "answer is none"),
        ((200, '{"then": "go_on", "budget": "soon"}'), "answer is none"),
        ((200, '{"then": "dance"}'), "answer is none"),
    ],
)
def test_no_answer_is_a_pause(environ: dict[str, str], answer: tuple[int, str], why: str) -> None:
    with answering(answer) as sweep:
        found = Trial({**environ, "LEYDEN_API_URL": sweep.url}).ask(3, {"val_loss": 0.5})
    assert found.then is Then.PAUSE
    assert why in found.why
    assert len(sweep.asked) == 1  # asked again it would say the same
    run.finish()


def test_a_server_that_is_being_restarted_is_asked_again(environ: dict[str, str]) -> None:
    with answering((503, ""), (500, ""), PAUSE) as sweep:
        found = Trial({**environ, "LEYDEN_API_URL": sweep.url}).ask(3, {"val_loss": 0.5})
    assert (found.then, found.why, len(sweep.asked)) == (Then.PAUSE, "", 3)
    run.finish()


def test_a_server_that_cannot_be_reached_holds_nobody_up(
    tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "_WITHIN_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        found = Trial({**environ, "LEYDEN_API_URL": url}).ask(3, {"val_loss": 0.5})
    assert found.then is Then.PAUSE
    assert "cannot be reached: timed out" in found.why
    assert Trial(environ).ask(3, {"val_loss": 0.5}).why == "there is no way to ask the server"
    assert len(rungs(tmp_path / "r")) == 2
    run.finish()


def test_only_a_trial_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_trial", None)
    monkeypatch.delenv("LEYDEN_TRIAL_BUDGET", raising=False)
    assert trial.current() is None
    with pytest.raises(ConfigurationError, match="LEYDEN_TRIAL_BUDGET='3'"):
        Trial({"LEYDEN_TRIAL_BUDGET": "3"})
