"""Does who used much stand behind who used little, and nobody who is far more urgent behind anybody?"""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leyden.jobs.fairness import MOST, describe
from leyden.jobs.schedule import decide
from leyden.jobs.snapshot import Running, Snapshot, Waiting
from leyden.jobs.usage import decayed
from tests.jobs.lines import PLAIN, a_machine, decided, running, started, waiting

HOUR = 3600.0


def test_who_used_more_than_the_fair_share_stands_behind_at_equal_priority() -> None:
    queue = [waiting(1, cpus=2, user="ada"), waiting(2, cpus=2, user="bob")]
    assert started(decided(PLAIN, queue)) == {1}
    assert started(decided(PLAIN, queue, used={"ada": 8 * HOUR, "bob": HOUR})) == {2}


def test_what_runs_counts_before_it_has_ended() -> None:
    queue = [waiting(1, gpus=4, cpus=1, user="ada"), waiting(2, gpus=4, cpus=1, user="bob")]
    taken = [running(9, *(f"gpu:{index}" for index in range(4)), "cpu:0", user="ada")]
    assert started(decided(a_machine(8, 8), queue, taken, now=5.0)) == {1}
    assert started(decided(a_machine(8, 8), queue, taken, now=HOUR)) == {2}


def test_a_few_seconds_of_use_move_nobody() -> None:
    standings = decided(PLAIN, [waiting(1, user="ada"), waiting(2, user="bob")], used={"ada": 20.0}).standings
    assert {standing.points for standing in standings.values()} == {0}


def test_priorities_far_apart_are_kept_whatever_was_used() -> None:
    queue = [waiting(1, cpus=2, priority=30, user="bob"), waiting(2, cpus=2, priority=71, user="ada")]
    assert started(decided(PLAIN, queue, used={"ada": 1e9})) == {2}
    queue = [waiting(1, cpus=2, priority=30, user="bob"), waiting(2, cpus=2, priority=40, user="ada")]
    assert started(decided(PLAIN, queue, used={"ada": 1e9})) == {1}


def test_one_user_alone_is_never_moved() -> None:
    assert decided(PLAIN, [waiting(1)], used={"ada": 1e9, "bob": 0.0}).standings["ada"].points == 0


def test_the_words_for_it() -> None:
    queue = [waiting(number, user=user) for number, user in enumerate(["ada", "bob", "cyd"])]
    standings = decided(PLAIN, queue, used={"ada": 23 * HOUR, "bob": 2 * HOUR, "cyd": 5 * HOUR}).standings
    assert describe(50, standings["ada"]) == "priority 50, −12 for 2.3 times the fair share"
    assert describe(50, standings["bob"]) == "priority 50, +20 for 0.21 times the fair share"


@given(st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 1e9), min_size=1))
def test_points_are_bounded_and_follow_the_use(used: dict[str, float]) -> None:
    standings = decided(PLAIN, [waiting(number, user=user) for number, user in enumerate(used)], used=used).standings
    assert all(abs(standing.points) <= MOST for standing in standings.values())
    in_order = [standings[user].points for user in sorted(used, key=used.__getitem__)]
    assert in_order == sorted(in_order, reverse=True)


@pytest.mark.parametrize("lengths", [{"ada": 1.0, "bob": 1.0}, {"ada": 5.0, "bob": 1.0}, {"ada": 0.5, "bob": 3.0}])
def test_two_users_who_always_want_more_get_the_same_however_long_their_jobs_are(lengths: dict[str, float]) -> None:
    """Three days of a machine with four GPUs; bob comes half a day later, and has his share a day after that."""
    numbers, now = count(), 0.0
    runs: list[Running] = []
    used, got = dict.fromkeys(lengths, 0.0), dict.fromkeys(lengths, 0.0)
    while now < 72 * HOUR:
        users = [user for user in lengths if user == "ada" or now > 12 * HOUR]
        line = [
            waiting(next(numbers), gpus=1, user=user, time_s=lengths[user] * HOUR) for user in users for _ in range(4)
        ]
        starts = decide(Snapshot(now=now, machine=a_machine(4, 4), waiting=line, running=runs, used=dict(used))).starts
        known: dict[str, Waiting] = {job.who.job_id: job for job in line}
        runs += [
            running(int(key), *devices, since=now, user=known[key].who.user, time_s=known[key].time_s)
            for key, devices in starts.items()
        ]
        later = min(one.since + (one.time_s or 0.0) for one in runs)
        used = {user: decayed(device_s, later - now) for user, device_s in used.items()}
        for one in [one for one in runs if one.since + (one.time_s or 0.0) <= later]:
            used[one.who.user] += one.time_s or 0.0
            got[one.who.user] += (one.time_s or 0.0) if later > 36 * HOUR else 0.0
        runs = [one for one in runs if one.since + (one.time_s or 0.0) > later]
        now = later
    assert 0.8 < got["ada"] / got["bob"] < 1.25
