"""Do only those make way that must, for those that may ask it, and does nobody take turns?"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from leyden.core.reasons import ReasonCode
from leyden.jobs.schedule import decide
from leyden.jobs.snapshot import Decisions, Running, Snapshot, Waiting
from tests.jobs.lines import a_machine, decided, running, said, started, waiting

FOUR = a_machine(4, 8)


def low(number: int, *devices: str, priority: int = 20, since: float = 0.0, user: str = "ada") -> Running:
    return running(number, *devices, priority=priority, since=since, grace_s=30.0, user=user)


def test_the_cheapest_makes_way_and_the_reason_says_so() -> None:
    taken = [low(1, "gpu:0", priority=30), low(2, "gpu:1"), low(3, "gpu:2", since=100.0), low(4, "gpu:3", priority=40)]
    decisions = decided(FOUR, [waiting(9, gpus=1)], taken)
    assert decisions.preempts == {"0000000003": "0000000009"}  # the lowest priority, and of these the one just begun
    assert decisions.reasons["0000000009"].code is ReasonCode.PREEMPTING
    assert said(decisions, 9) == (
        "waits for gpu:2; job 0003 'digits' (ada), of lower priority, saves a checkpoint and makes way"
    )


def test_one_that_frees_enough_makes_others_needless() -> None:
    taken = [low(1, "gpu:0", priority=10), low(2, "gpu:1", "gpu:2", priority=20), low(3, "gpu:3", priority=40)]
    assert decided(FOUR, [waiting(9, gpus=2)], taken).preempts == {"0000000002": "0000000009"}


def test_nobody_is_stopped_in_vain() -> None:
    taken = [low(1, "gpu:0"), running(2, "gpu:1"), running(3, "gpu:2"), running(4, "gpu:3", priority=60)]
    decisions = decided(FOUR, [waiting(9, gpus=2)], taken)
    assert decisions.preempts == {}
    assert decisions.reasons["0000000009"].code is ReasonCode.DEVICES


def test_neither_equals_nor_the_unwilling_nor_the_better_standing_make_way() -> None:
    taken = [low(1, "gpu:0", priority=50), running(2, "gpu:1", priority=0), low(3, "gpu:2", priority=45, user="bob")]
    decisions = decided(FOUR, [waiting(9, gpus=2)], taken, used={"ada": 1e6})
    assert decisions.preempts == {}  # bob's would stand before it in line, and take the GPU back


def test_no_more_are_stopped_while_some_stop_and_nobody_else_gets_theirs() -> None:
    stops = replace(low(1, "gpu:0", "gpu:1"), stops=True, makes_way=True)
    decisions = decided(FOUR, [waiting(8, gpus=3), waiting(9, gpus=1, time_s=1.0)], [stops, low(2, "gpu:3")])
    assert decisions.preempts == {}
    assert started(decisions) == set()  # gpu:2 is kept
    assert said(decisions, 8).startswith("waits for gpu:0–1; job 0001 'digits' (ada), of lower priority, saves")
    half = decided(FOUR, [waiting(8, gpus=4), waiting(9, gpus=1)], [stops, low(2, "gpu:3")])
    assert half.preempts == {"0000000002": "0000000008"}  # only what is still missing


def test_nobody_is_stopped_for_what_ends_within_the_grace_anyway() -> None:
    ends = [running(number, f"gpu:{number}", time_s=200.0) for number in range(3)]
    taken = [*ends, low(3, "gpu:3")]
    assert decided(FOUR, [waiting(9, gpus=1)], taken, now=190.0).preempts == {}
    assert decided(FOUR, [waiting(9, gpus=1)], taken, now=100.0).preempts == {"0000000003": "0000000009"}


def test_only_the_first_in_line_asks_others_to_make_way() -> None:
    taken = [running(number, f"gpu:{number}", priority=60) for number in range(3)]
    queue = [waiting(8, gpus=4, priority=90), waiting(9, gpus=1, priority=80)]
    assert decided(FOUR, queue, [*taken, low(3, "gpu:3")]).preempts == {}


jobs = st.tuples(
    st.integers(0, 4), st.integers(1, 4), st.integers(0, 5), st.sampled_from(["ada", "bob"]), st.booleans()
)


@given(st.lists(jobs, min_size=1, max_size=14), st.dictionaries(st.sampled_from(["ada", "bob"]), st.floats(0, 1e6)))
def test_jobs_that_never_end_come_to_rest(specs: list[tuple[int, int, int, str, bool]], used: dict[str, float]) -> None:
    """Each arrives alone, and passes follow until nothing happens. Nobody is stopped in vain, or by a lesser."""
    taken: list[Running] = []
    line: list[Waiting] = []
    for number, (gpus, cpus, tens, user, _) in enumerate(specs):
        line.append(waiting(number, gpus=gpus, cpus=cpus, priority=tens * 10, user=user))
        for _ in range(3 * len(specs)):
            decisions = decide(Snapshot(now=10.0, machine=FOUR, waiting=line, running=taken, used=used))
            check(decisions, line, taken)
            if not decisions.starts and not decisions.preempts and not any(one.stops for one in taken):
                break
            line, taken = applied(decisions, line, taken, willing={n for n, spec in enumerate(specs) if spec[4]})
        else:
            raise AssertionError("they take turns")


def check(decisions: Decisions, line: list[Waiting], taken: list[Running]) -> None:
    by_id = {one.who.job_id: one for one in taken}
    waits = {one.who.job_id: one for one in line}
    for key, other in decisions.preempts.items():
        assert by_id[key].priority < waits[other].priority
        assert by_id[key].grace_s is not None
        assert not by_id[key].stops
    for other in set(decisions.preempts.values()) & set(decisions.order[:1]):  # others lack what is kept for it too
        chosen = [by_id[key] for key, asks in decisions.preempts.items() if asks == other]
        holders = [one for one in taken if not one.stops and one.who.job_id not in decisions.preempts]
        begun = {device for devices in decisions.starts.values() for device in devices}
        for spared in chosen:  # with one fewer it would not fit
            held = begun | {device for one in (*holders, spared) for device in one.devices}
            size = waits[other].size
            free = [sum(f"gpu:{n}" not in held for n in range(4)), sum(f"cpu:{n}" not in held for n in range(8))]
            assert free[0] < size.gpus or free[1] < size.cpus


def applied(
    decisions: Decisions, line: list[Waiting], taken: list[Running], willing: set[int]
) -> tuple[list[Waiting], list[Running]]:
    """Those that stopped are gone and wait again; those that were chosen stop; those that may start run."""
    sizes = {one.who.job_id: one for one in line}
    gone = [one for one in taken if one.stops]
    stays = [replace(one, stops=True, makes_way=True) if one.who.job_id in decisions.preempts else one for one in taken]
    stays = [one for one in stays if one not in gone]
    for key, devices in decisions.starts.items():
        job, number = sizes[key], int(key)
        grace_s = 30.0 if number in willing else None
        begins = running(number, *devices, since=10.0, priority=job.priority, user=job.who.user, grace_s=grace_s)
        stays.append(begins)
    again = [
        waiting(
            int(one.who.job_id),
            gpus=sum(device.startswith("gpu") for device in one.devices),
            cpus=sum(device.startswith("cpu") for device in one.devices),
            priority=one.priority,
            user=one.who.user,
        )
        for one in gone
    ]
    return [one for one in line if one.who.job_id not in decisions.starts] + again, stays
