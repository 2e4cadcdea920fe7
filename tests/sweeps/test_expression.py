"""Are expressions read as they are written, and errors shown where they are?"""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from leyden.core.errors import SpecError
from leyden.core.sweep_views import Value
from leyden.sweeps.domains import Choice, Integers, Normal, Uniform
from leyden.sweeps.expression import Source
from leyden.sweeps.forms import FORMS, Parameter, read


def parameter(text: str, seed: str = "0") -> Parameter:
    found = read(Source(text=text, asked="--x"), seed)
    assert isinstance(found, Parameter)
    return found


def listed(text: str) -> list[tuple[object, str]]:
    found = parameter(text)
    assert isinstance(found.domain, Choice)
    return list(zip(found.domain.values, found.texts, strict=True))


@pytest.mark.parametrize(
    ("text", "values", "texts"),
    [
        ("[32, 64]", [32, 64], "32 64"),
        (" [ 32,64 , ] ", [32, 64], "32 64"),
        ("[1e-3, 0.10, -5, +2, .5, 1.]", [0.001, 0.1, -5, 2, 0.5, 1.0], "1e-3 0.10 -5 +2 .5 1."),
        ("[True, False, None, true]", [True, False, "None", "true"], "True False None true"),
        ("['a', \"b\", c]", ["a", "b", "c"], "a b c"),
        ("['1', 1]", ["1", 1], "1 1"),
        (r"['it\'s', 'C:\\x', 'C:\y']", ["it's", "C:\\x", "C:\\y"], r"it's C:\x C:\y"),
        ("[a/b.yaml, s3://x/y, 10k, 3x3, 007, é, 模型]", None, "a/b.yaml s3://x/y 10k 3x3 007 é 模型"),
        ("[nan, inf, 1e999, 0x10, 1_000]", None, "nan inf 1e999 0x10 1_000"),
        ("['resnet18' 'transformer', 'resnet50']", None, "resnet18 transformer resnet50"),
        ("choice(a, 2, 'c')", ["a", 2, "c"], "a 2 c"),
        ("choice([1, 2])", [1, 2], "1 2"),
        ("choice(range(3))", [0, 1, 2], "0 1 2"),
        ("np.random.choice([1, 2])", [1, 2], "1 2"),
        ("range(5, 0, -2)", [5, 3, 1], "5 3 1"),
        ("linspace(-0.3, 0.3, 7)", [-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3], "-0.3 -0.2 -0.1 0.0 0.1 0.2 0.3"),
        ("linspace(1, 2, 1)", [1.0], "1.0"),
        ("numpy.logspace(-4, -1, 4)", [0.0001, 0.001, 0.01, 0.1], "0.0001 0.001 0.01 0.1"),
        ("geomspace(100, 1, 3)", [100.0, 10.0, 1.0], "100.0 10.0 1.0"),
        ("[literal([1, 2]), literal(f(')')), 'x']", ["[1, 2]", "f(')')", "x"], "[1, 2] f(')') x"),
        ("[present, absent]", [True, False], "True False"),
        ("[present, maybe]", ["present", "maybe"], "present maybe"),
    ],
)
def test_lists(text: str, values: list[Value] | None, texts: str) -> None:
    found = listed(text)
    assert " ".join(text for _, text in found) == texts
    expected = texts.split(" ") if values is None else values
    assert [(type(one), one) for one, _ in found] == [(type(one), one) for one in expected]


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("uniform(0, 0.5)", Uniform(low=0, high=0.5)),
        ("np.random.uniform( -1 ,1 )", Uniform(low=-1, high=1)),
        ("loguniform(1e-4,1e-1)", Uniform(low=1e-4, high=0.1, log=True)),
        ("quniform(0, 1, 0.25)", Uniform(low=0, high=1, step=0.25)),
        ("quniform(1, 10, 4)", Integers(low=1, high=9, step=4)),
        ("randint(1, 10)", Integers(low=1, high=9)),
        ("randint(10)", Integers(low=0, high=9)),
        ("lograndint(1, 1000)", Integers(low=1, high=999, log=True)),
        ("normal(0, 1)", Normal(mean=0, std=1)),
        ("lognormal(-7, 2)", Normal(mean=-7, std=2, log=True)),
        ("range(1, 10, 2)", Integers(low=1, high=9, step=2)),
        ("list(range(3))", Integers(low=0, high=2)),
    ],
)
def test_distributions(text: str, domain: object) -> None:
    assert parameter(text) == Parameter(domain=domain)  # type: ignore[arg-type]


def test_marks() -> None:
    assert (parameter("flag()").flag, parameter("[present, absent]").flag) == (True, True)
    assert parameter("zip([a, b])").zipped
    assert parameter("zip(present, absent)").flag


@pytest.mark.parametrize(
    "text", ["a", "", "1", "lr(", "average(3)", "{'a': [1]}", "[1] or", "x[1]", "uniform", "g (", "(1)"]
)
def test_all_else_is_passed(text: str) -> None:
    assert read(Source(text=text, asked="--x"), "") is None


def test_literal_is_untouched() -> None:
    assert read(Source(text=" literal( [0.9,  uniform(0,1)] )) ", asked="--x"), "") == " [0.9,  uniform(0,1)] )"


def test_drawn_lists_depend_on_the_seed_alone() -> None:
    for text in ("uniform(1e-5, 1e-1, 3)", "poisson(100, 3)", "choice([1, 2, 3], 20)", "lograndint(1, 10000, 3)"):
        assert listed(text) == listed(text)
        assert parameter(text, "1") != parameter(text, "2"), text
    assert all(1e-5 <= one <= 1e-1 for one, _ in listed("uniform(1e-5, 1e-1, 50)"))  # type: ignore[operator]
    assert {one for one, _ in listed("choice([a, 'b'], 50)")} == {"a", "b"}
    assert {one for one, _ in listed("randint(3, 5, 50)")} == {3, 4}


def test_drawn_numbers_are_distributed_as_told() -> None:
    """Means of numpy's distributions, by which wrong or swapped arguments show."""
    for text, mean in [
        ("exponential(4, 4000)", 4), ("beta(2, 6, 4000)", 0.25), ("gamma(2, 3, 4000)", 6), ("rand(4000)", 0.5),
        ("triangular(0, 1, 5, 4000)", 2), ("binomial(10, 0.3, 4000)", 3), ("normal(3, 0.1, 4000)", 3),
        ("randint(0, 11, 4000)", 5),
    ]:  # fmt: skip
        values = [float(str(one)) for one, _ in listed(text)]
        assert sum(values) / len(values) == pytest.approx(mean, rel=0.1), text


@pytest.mark.parametrize(
    ("text", "at", "found"),
    [
        ("loguniform(1e-4,)", 16, "a value is missing after the comma"),
        ("loguniform(1e-4)", 15, "takes 2 or 3 numbers, 1 is given"),
        ("uniform(1, 2, 3, 4)", 17, "4 are given"),
        ("uniform(0, 1", 7, ") is missing"),
        ("uniform(0, 1) + 1", 14, "ends before this"),
        ("uniform(0, x)", 11, "a number is needed"),
        ("uniform(0, nan)", 11, "a number is needed"),
        ("uniform(0, 1e999)", 11, "a number is needed"),
        ("uniform(0, '1')", 11, "a number is needed"),
        ("uniform(0, high=1)", 11, "a number is needed"),
        ("uniform(0, True)", 11, "a number is needed"),
        ("uniform(0, [1])", 11, "a number is needed"),
        ("uniform(1, 1)", 11, "not greater"),
        ("uniform(-1e308, 1e308)", 0, "too wide"),
        ("uniform(0, 1, 0)", 14, "0 values are none"),
        ("uniform(0, 1, 2.0)", 14, "a whole number"),
        ("uniform(0, 1, 1000001)", 14, "1,000,001 values are too many"),
        ("loguniform(0, 1)", 11, "no logarithm"),
        ("lograndint(0, 5)", 11, "no logarithm"),
        ("lograndint(5)", 12, "takes 2 or 3"),
        ("randint(3, 3)", 11, "not greater"),
        ("randint(0.5, 3)", 8, "a whole number"),
        ("randint()", 8, "0 are given"),
        ("quniform(0, 1, 0)", 15, "not above 0"),
        ("quniform(0, 1, 1e-10)", 15, "too fine"),
        ("normal(0, 0)", 10, "not above 0"),
        ("lognormal(700, 1)", 10, "too large"),
        ("range(1, 1)", 0, "empty"),
        ("range(0, 5, 0)", 12, "leads nowhere"),
        ("range(0, 1000001)", 0, "too many"),
        ("range(0.5)", 6, "a whole number"),
        ("linspace(0, 1, 0)", 15, "none"),
        ("linspace(0, 1)", 13, "2 are given"),
        ("logspace(0, 400, 3)", 0, "no number"),
        ("geomspace(0, 1, 3)", 10, "no logarithm"),
        ("poisson(4)", 9, "how many values"),
        ("poisson(-1, 3)", 0, "numpy"),
        ("binomial(0.5, 3)", 15, "how many values"),
        ("[]", 0, "empty"),
        ("[1,,2]", 3, "missing before this comma"),
        ("[1 2]", 3, "a comma is missing"),
        ("['a, b]", 1, "never closed"),
        ("[1, (2)]", 4, "a value is expected"),
        ("[1]]", 3, "ends before"),
        ("[[1], 2]", 1, "a list cannot stand"),
        ("[uniform(0, 1)]", 1, "uniform(…) cannot stand"),
        ("[literal(1]", 8, ") is missing"),
        ("literal(1", 7, ") is missing"),
        ("choice()", 0, "no value"),
        ("zip([1], [2])", 0, "more than one list"),
        ("choice(uniform(0, 1))", 7, "continuous"),
        ("zip()", 0, "no value"),
        ("zip(zip(zip(zip(1))))", 12, "cannot stand within"),
        ("zip(average(3))", 4, "no known form"),
        ("list(3)", 0, "one list"),
        ("flag(1)", 0, "takes nothing"),
        ("unifomr(0, 1)", 0, "no known form"),
        ("LogUniform(1, 2)", 0, "no known form"),
        ("np.linspce(1, 2, 3)", 3, "no known form"),
        ("[模型, é,,x]", 7, "missing before"),
    ],
)  # fmt: skip
def test_errors_point_at_the_character(text: str, at: int, found: str) -> None:
    with pytest.raises(SpecError) as caught:
        read(Source(text=text, asked="--x"), "")
    error = caught.value
    assert error.asked == f"--x {text!r}"
    assert found in error.found
    _, shown, caret = error.found.rstrip("\n").rsplit("\n", 2)
    assert shown == f"  {text}"
    wide = 2 if "模" in text else 0  # columns of a terminal
    assert caret == " " * (2 + at + wide) + "^"


def test_a_slip_is_named() -> None:
    with pytest.raises(SpecError, match="Did you mean 'uniform'"):
        read(Source(text="unifomr(0, 1)", asked="--x"), "")


def test_a_long_text_is_cut_around_the_place() -> None:
    text = f"[{'a, ' * 3000}b c{', d' * 3000}]"
    with pytest.raises(SpecError, match="a comma is missing") as caught:
        read(Source(text=text, asked="--x"), "")
    _, shown, caret = caught.value.found.rstrip("\n").rsplit("\n", 2)
    assert len(shown) < 110
    assert shown[caret.index("^")] == "c"


@pytest.mark.parametrize(
    "text",
    [
        f"[{'1e-3, ' * 50_000}1]",
        "[" * 100_000 + "]" * 100_000,
        "[" + "literal(" * 50_000 + "]",
        "[literal(" + "\\'" * 50_000 + "]",
        "['" + "\\'" * 100_000 + "]",
        "[" + "a " * 50_000 + "]",
        "x" * 100_000 + "(1)",
        "zip(" * 50_000 + ")",
        " " * 100_000 + "[1]",
        "[a" + " " * 100_000 + "]",
        "[" + "9" * 100_000 + "]",
        "[1" + "e" * 100_000 + "]",
    ],
)
def test_long_texts_take_no_time(text: str) -> None:
    before = time.process_time()
    with suppress(SpecError):
        read(Source(text=text, asked="--x"), "")
    assert time.process_time() - before < 1.5  # 0.1 s; one that grows with the square takes minutes


SIGNS = st.sampled_from(
    [
        *"[](),'\" \\\t=.-+eé模\x00\udc80",
        "1",
        "20",
        "1e-3",
        "nan",
        "1e999",
        "np.",
        "literal(",
        *(f"{one}(" for one in FORMS),
    ]
)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(st.text(), st.lists(SIGNS, max_size=12).map("".join)).flatmap(
        lambda one: st.sampled_from([one, f"[{one}]", f"{one})"])
    )
)
@example("[\x1c1\x85]")
def test_any_text_is_read_or_refused(text: str) -> None:
    found = None
    with suppress(SpecError):
        found = read(Source(text=text, asked="--x"), "0")
    if isinstance(found, Parameter):
        assert found.domain.size is None or found.domain.size >= 1
        assert len(found.texts) == (len(found.domain.values) if isinstance(found.domain, Choice) else 0)
