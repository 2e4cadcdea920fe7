"""Are arguments taken apart, counted, drawn, moved and put together again?"""

from __future__ import annotations

import json
import random
import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leyden.core.errors import SpecError
from leyden.core.sweep_views import Value
from leyden.sweeps.domains import Choice, Domain, Integers, Normal, Uniform
from leyden.sweeps.space import Space


def grid(*args: str, space: dict[str, str] | None = None, rows: tuple[dict[str, str], ...] = ()) -> list[str]:
    found = Space.parse(args, space=space or {}, rows=rows)
    assert found.size is not None
    return [" ".join(found.args(found.point(number))) for number in range(found.size)]


@pytest.mark.parametrize(
    ("args", "points"),
    [
        (["--a", "[1, 2]", "--b", "[3, 4]"], ["--a 1 --b 3", "--a 1 --b 4", "--a 2 --b 3", "--a 2 --b 4"]),
        (["--a=[1, 2]", "-v", "x"], ["--a=1 -v x", "--a=2 -v x"]),
        (["a.b=[1, 2]", "+c=[3]", "~d"], ["a.b=1 +c=3 ~d", "a.b=2 +c=3 ~d"]),
        (["in", "[1, 2]", "--n", "-1", "[3]"], ["in 1 --n -1 3", "in 2 --n -1 3"]),
        (["-x", "[1]", "--", "[2]", "-", "-1", "[3]"], ["-x 1 -- 2 - -1 3"]),
        (["--two", "[1]", "[2]"], ["--two 1 2"]),
        (["--amp", "flag()", "--b", "[1]"], ["--amp --b 1", "--b 1"]),
        (["--amp", "[absent, present]", "-v"], ["-v", "--amp -v"]),
        (["--a", "zip(1, 2)", "--m", "[x]", "--b", "zip(p, q)", "--c", "zip(present, absent)"],
         ["--a 1 --m x --b p --c", "--a 2 --m x --b q"]),
        (["--b", "literal([1, 2])", "--c=literal([3])", "literal([4])"], ["--b [1, 2] --c=[3] [4]"]),
        (["a=b=[1]", "1=[2]", "--note", "f [1]", "s3://x?y=[1]"], ["a=b=[1] 1=[2] --note f [1] s3://x?y=[1]"]),
        ([], [""]),
    ],
)  # fmt: skip
def test_a_grid(args: list[str], points: list[str]) -> None:
    assert grid(*args) == points


def test_names_and_texts() -> None:
    space = Space.parse(["--lr", "uniform(0,1)", "-x=[1]", "a.b=[2]", "data", "[3]", "--model-name", "[m]", "[4]"])
    assert space.names == ("lr", "x", "a.b", "arg1", "model-name", "arg2")
    assert space.texts == {
        "lr": "uniform(0,1)", "x": "[1]", "a.b": "[2]", "arg1": "[3]", "model-name": "[m]", "arg2": "[4]",
    }  # fmt: skip
    assert (space.finite, space.size) == (False, None)
    with pytest.raises(SpecError, match="lr is uniform"):
        space.point(0)


def test_points_are_counted() -> None:
    space = Space.parse(["--a", "range(1000000)", "--b", "range(1000000)", "--c", "quniform(0, 1, 0.1)"])
    assert space.size == 11 * 10**12
    assert space.point(11 * 10**12 - 1) == {"a": 999_999, "b": 999_999, "c": 1.0}
    assert [space.point(at)["c"] for at in range(4)] == [0.0, 0.1, 0.2, 0.3]
    with pytest.raises(IndexError):
        space.point(11 * 10**12)
    with pytest.raises(IndexError):
        space.point(-1)


def test_numbers_keep_their_text_also_after_json() -> None:
    space = Space.parse(["--a", "[1e-3, 0.10, 1, 1.0, True, '1']"])
    texts = ["1e-3", "0.10", "1", "1.0", "True", "1"]
    for number, text in enumerate(texts):
        point = space.point(number)
        assert space.args(point) == space.args(json.loads(json.dumps(point))) == ("--a", text)
    assert Space.parse(["--a", "[32, 64]"]).args({"a": 64.0}) == ("--a", "64")
    assert Space.parse(["--a", "uniform(0, 1)"]).args({"a": 0.25}) == ("--a", "0.25")


def test_a_space_beside_the_arguments() -> None:
    args = ("--lr", "1", "w=3", "--amp", "--p", "[1]")
    space = {"lr": "[0.1]", "--w": "[32]", "amp": "flag()", "-x": "5", "new": "[a, b]", "b": "literal([1])"}
    assert grid(*args, space=space)[:2] == [
        "--lr 0.1 w=32 --amp --p 1 -x 5 --new a --b [1]",
        "--lr 0.1 w=32 --amp --p 1 -x 5 --new b --b [1]",
    ]
    assert grid(*args, space=space)[2] == "--lr 0.1 w=32 --p 1 -x 5 --new a --b [1]"


def test_rows_beside_the_arguments() -> None:
    rows = (
        {"lr": "1e-3", "--opt": "adam", "amp": "present", "w": "1"},
        {"lr": "", "--opt": "a b", "amp": "absent", "w": "2"},
    )
    space = Space.parse(["--w=9", "--lr", "[5, 6]", "--seed", "[0, 1]"], rows=rows)
    assert space.axes[0].names == ("lr", "opt", "amp", "w")
    assert [space.args(space.point(number)) for number in range(4)] == [
        ("--w=1", "--lr", "1e-3", "--seed", "0", "--opt", "adam", "--amp"),
        ("--w=1", "--lr", "1e-3", "--seed", "1", "--opt", "adam", "--amp"),
        ("--w=2", "--seed", "0", "--opt", "a b"),
        ("--w=2", "--seed", "1", "--opt", "a b"),
    ]
    assert space.point(0)["lr"] == 0.001
    assert Space.parse([], rows=({"a": "x"}, {"a": "y"})).axes[0].domain == Choice(values=("x", "y"))


@pytest.mark.parametrize(
    ("args", "space", "rows", "found"),
    [
        (["--lr", "[1]", "lr=[2]"], {}, (), "given twice, among the arguments"),
        (["--lr", "[1]"], {"lr": "[2]"}, (), "given twice, among the arguments and in the sweep's space"),
        ([], {"lr": "[2]"}, ({"--lr": "1"},), "given twice, in the sweep's space and in the rows"),
        (["--a", "zip(1, 2)", "--b=zip(1, 2, 3)"], {}, (), "--a 'zip(1, 2)' and --b 'zip(1, 2, 3)'; zip varies them"),
        (["amp=flag()"], {}, (), "only a flag"),
        (["flag()"], {}, (), "only a flag"),
        ([], {"": "[1]"}, (), "no name"),
        ([], {"a b": "[1]"}, (), "no name"),
        ([], {}, ({"a": "1", "b": "2"}, {"a": "1"}), "row 2 of the trials; it does not agree with the first on"),
        ([], {"lr": "uniform(1, 0)"}, (), "--lr 'uniform(1, 0)'; 0 is not greater than 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant(
    args: list[str], space: dict[str, str], rows: tuple[dict[str, str], ...], found: str
) -> None:
    with pytest.raises(SpecError, match=re.escape(found)):
        Space.parse(args, space=space, rows=rows)


def test_a_missing_value_is_named() -> None:
    with pytest.raises(SpecError, match="lr has no value"):
        Space.parse(["--lr", "[1]"]).args({"w": 3})


DOMAINS: list[Domain] = [
    Uniform(low=-1, high=3),
    Uniform(low=1e-6, high=1, log=True),
    Uniform(low=-0.3, high=0.7, step=0.1),
    Uniform(low=0.05, high=1, step=0.3),
    Integers(low=-3, high=9, step=3),
    Integers(low=1, high=1000, log=True),
    Integers(low=0, high=1),
    Integers(low=7, high=7),
    Normal(mean=0, std=1),
    Normal(mean=-2, std=3, log=True),
    Choice(values=("a", "b", "c")),
    Choice(values=(1,)),
    Choice(values=(True, False)),
    Choice(values=(4, 1, 2.5)),
    Choice(values=((1, "a"), (2, "b"))),
    Choice(values=(1, True, 1.0)),
]


@pytest.mark.parametrize("domain", DOMAINS, ids=str)
def test_samples_and_steps_stay_within(domain: Domain) -> None:
    rng = random.Random(0)
    value = domain.sample(rng)
    for _ in range(300):
        assert domain.sample(rng) in domain
        value = domain.perturbed(value, rng)  # type: ignore[arg-type]  # its own value
        assert value in domain
    if domain.size is not None and domain.size < 100:
        points = {repr(domain.at(index)) for index in range(domain.size)}
        assert {repr(domain.sample(rng)) for _ in range(40 * domain.size)} == points


def test_samples_are_distributed_as_told() -> None:
    rng = random.Random(1)
    space = Space.parse(["--u", "loguniform(1e-4, 1)", "--i", "lograndint(1, 1000)", "--n", "lognormal(1, 0.5)"])
    drawn = [space.sample(rng) for _ in range(4000)]
    decades = Counter(str(int(float(one["u"]) * 1e4)).__len__() for one in drawn)
    assert all(900 < decades[digits] < 1100 for digits in (1, 2, 3, 4))
    digits = Counter(len(str(one["i"])) for one in drawn)  # P(1 digit) = ln(9.5/0.5) / ln(999.5/0.5)
    assert [round(digits[length] / 4000, 1) for length in (1, 2, 3)] == [0.4, 0.3, 0.3]
    assert sum(float(one["n"]) < 2.718 for one in drawn) == pytest.approx(2000, abs=120)
    assert space.sample(random.Random(3)) == space.sample(random.Random(3))


def moves(domain: Domain, value: Value) -> set[object]:
    rng = random.Random(0)
    return {domain.moved(value, rng) for _ in range(50)}  # type: ignore[arg-type]  # its own value


def test_a_step_of_pbt() -> None:
    assert moves(Uniform(low=0, high=1), 0.5) == {0.4, 0.6}
    assert moves(Uniform(low=0, high=1), 0.9) == {0.9 * 0.8, 1}  # clipped
    assert moves(Uniform(low=0, high=1, step=0.25), 0.5) == {0.25, 0.75}  # one step at least
    assert moves(Integers(low=1, high=100), 50) == {40, 60}
    assert moves(Integers(low=1, high=100), 2) == {1, 3}
    assert moves(Integers(low=-9, high=9), -2) == {-3, -1}
    assert moves(Integers(low=0, high=100, step=5), 10.0) == {5, 15}
    assert all(isinstance(one, int) for one in moves(Integers(low=0, high=100, step=5), 10.0))
    assert moves(Normal(mean=0, std=1), 1.0) == {0.8, 1.2}
    assert moves(Choice(values=(8, 1, 4, 2)), 4) == {2, 8}  # next in size
    assert moves(Choice(values=("a", "b", "c")), "a") == {"b"}
    assert moves(Choice(values=(True, False)), True) == {False}


def test_a_quarter_is_drawn_anew() -> None:
    rng, domain = random.Random(0), Uniform(low=0, high=1)
    anew = sum(domain.perturbed(0.5, rng) not in (0.4, 0.6) for _ in range(4000))
    assert 900 < anew < 1100
    assert 5.0 not in domain
    assert 0 <= domain.perturbed(5.0, rng) <= 1  # a value of another space


def test_all_of_an_axis_move_together() -> None:
    space, rng = Space.parse(["--a", "zip(1, 2, 3)", "--b", "zip(x, y, z)", "--u", "uniform(0, 1)"]), random.Random(0)
    params = space.sample(rng)
    for _ in range(100):
        params = space.perturb(params, rng)
        assert (params["a"], params["b"]) in {(1, "x"), (2, "y"), (3, "z")}
    assert space.perturb({}, rng).keys() == {"a", "b", "u"}
    assert space.perturb({"a": 1, "b": "z", "u": "?"}, rng).keys() == {"a", "b", "u"}


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)
EXPRESSIONS = st.sampled_from(
    ["[32, 6.40e1]", "uniform(0, 1)", "lograndint(1, 100)", "normal(0, 1)", "quniform(-1, 1, 0.1)", "['a b', \"it's\"]",
     "range(9, 0, -3)", "[True, None]", "linspace(0, 1, 4)", "[literal([1, 2]), x]"]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(EXPRESSIONS, st.sampled_from(["--{} ", "--{}=", "{}="])), max_size=4), st.integers(0, 99))
def test_the_values_of_arguments_are_those_of_the_parameters(parts: list[tuple[str, str]], seed: int) -> None:
    words: list[str] = []
    for at, (text, shape) in enumerate(parts):
        head = shape.format(f"p{at}")
        words += [head.strip(), text] if head.endswith(" ") else [head + text]
    space, rng = Space.parse(words), random.Random(seed)
    for params in (space.sample(rng), space.perturb(space.sample(rng), rng)):
        joined = [re.split(r"[= ]", one, maxsplit=1)[1] for one in _joined(space.args(params))]
        for text, value in zip(joined, params.values(), strict=True):
            assert text == str(value) if isinstance(value, str | bool) else float(text) == value


def _joined(args: tuple[str, ...]) -> list[str]:
    """Flags with their values."""
    found: list[str] = []
    for word in args:
        if found and re.fullmatch(r"--p\d", found[-1]):
            found[-1] += f" {word}"
        else:
            found.append(word)
    return found


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(WORDS, EXPRESSIONS, WORDS.map("--{}".format), WORDS.map("k={}".format)), max_size=6))
def test_any_arguments_are_read_or_refused(args: list[str]) -> None:
    try:
        space = Space.parse(args)
    except SpecError:
        return
    assert len(space.args(space.sample(random.Random(0)))) == len(args)
    if not space.names:
        assert space.args({}) == tuple(args)
