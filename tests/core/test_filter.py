"""Does a filter mean what it says, and does an error show the place?"""

from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leyden.core.errors import SpecError
from leyden.core.filter import ATTRIBUTES, All, Any, Compare, Field, Filter, Found, Not, Value, matches, parse

NOW = 1_800_000_000.0
RUN: dict[tuple[str, str], Found] = {
    ("attribute", "state"): "running",
    ("attribute", "user"): "ada",
    ("attribute", "name"): "ResNet 50",
    ("attribute", "tag"): ("baseline", "night run"),
    ("attribute", "created_at"): NOW - 3600,
    ("attribute", "duration_s"): 5400.0,
    ("attribute", "priority"): 50,
    ("metrics", "val_loss"): 0.25,
    ("metrics", "val loss"): 7.0,
    ("metrics", "lr"): 0.5,
    ("metrics", "bad"): math.nan,
    ("metrics", "huge"): math.inf,
    ("config", "lr"): 0.001,
    ("config", "model.width"): 64,
    ("config", "amp"): True,
    ("config", "data"): "cifar=10",
}


def look(field: Field) -> Found:
    if field.kind:
        return RUN.get((field.kind, field.name))
    return RUN.get(("metrics", field.name), RUN.get(("config", field.name)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "status=running val_loss<0.3 user=ada",
        "state = running and val_loss <= 0.25",
        "val_loss==.25",
        "name~resnet",
        "name!~vgg",
        "tag=baseline",
        'tags="night run"',
        "tag~NIGHT",
        "not state=failed",
        "not not user=ada",
        "user=bob,ada",
        "user!=bob,eve",
        "(user=bob or user=ada) state=running",
        "user=bob or state=running user=ada",
        '"val loss"=7',
        "lr=0.5 config.lr=1e-3 metrics.lr=0.5",
        "model.width>=64 config.model.width<=64.0",
        "amp=true amp=True not amp=false",
        'data="cifar=10"',
        "bad=nan not bad<1 not bad>1",
        "huge=inf huge>1e300",
        "val_loss=* not nothing=*",
        "nothing!=3 nothing!=*",
        "created_at>2h created_at<30m",
        "created_at>2027-01-14 created_at<2027-01-16T00:00 created_at<2027-01-15T08:00:00+00:00",
        "duration_s>1h duration_s<=1h30m duration_s=5400",
        "priority=50 priority=50.0",
        "or=3 or user=ada",
        'user=ad\tor\nuser="ada"',
    ],
)
def test_what_holds(text: str) -> None:
    assert matches(parse(text, now=NOW), look)


@pytest.mark.parametrize(
    "text",
    [
        "val_loss<0.25",
        "user=Ada",
        "lr<0.01",
        "nothing<3",
        "nothing=3",
        "data<3",
        "name<3",
        "state=failed or user=bob",
        "user=ada (state=failed or state=queued)",
        'tag="night"',
        'priority="50 "',
        "val_loss!=*",
    ],
)
def test_what_does_not_hold(text: str) -> None:
    assert not matches(parse(text, now=NOW), look)


@pytest.mark.parametrize(
    ("text", "says", "place"),
    [
        ("val_loss<", "the filter ends here, where a value is expected", 9),
        ("status running", "after 'status' no operator", 7),
        ("resnet", "after 'resnet' no operator", 6),
        ("=3", "'=' stands here, where a name is expected", 0),
        ("user=ada and", "the filter ends here, where a name is expected", 12),
        ("(user=ada", r"this \( is never closed", 0),
        ("user=ada)", r"this \) has no \(", 8),
        ("()", r"'\)' stands here", 1),
        ("a=b=c", "'=' stands here, where a name", 3),
        ('user="ada', 'this " is never closed', 5),
        ("loss<low", "'low' is no number, and < compares numbers", 5),
        ("created_at>soon", "'soon' is no time", 11),
        ("created_at>2026-13-01", "is no time", 11),
        ("duration_s>long", "'long' is no duration", 11),
        ("a=1,", "the filter ends here", 4),
        ("a!1", "! stands alone", 1),
        ("not", "the filter ends here", 3),
        ("a=1 or or b=2", "no operator", 10),
        ("(" * 60 + "a=1" + ")" * 60, "nested more than 50 deep", 51),
    ],
)
def test_an_error_shows_the_place(text: str, says: str, place: int) -> None:
    with pytest.raises(SpecError, match=says) as caught:
        parse(text)
    first, shown, caret, _ = str(caught.value).split("\n")
    assert f"at character {place + 1} " in first
    start = max(0, place - 40)
    assert shown.strip() == text[start : place + 40].strip()
    assert caret.index("^") - 2 == place - start


def test_what_is_too_long_is_refused() -> None:
    with pytest.raises(SpecError, match="10,001 characters"):
        parse("a" * 10_001)


def written(one: Filter) -> str:
    match one:
        case Compare():
            prefix = f"{one.field.kind}." if one.field.kind in {"metrics", "config"} else ""
            values = ",".join("*" if value.anything else quoted(value) for value in one.values)
            return f"{quoted(Value(text=prefix + one.field.name))}{one.operator}{values}"
        case Not(part):
            return f"not ({written(part)})"
        case All(parts):
            return " ".join(f"({written(part)})" for part in parts)
        case Any(parts):
            return " or ".join(f"({written(part)})" for part in parts)


def quoted(value: Value) -> str:
    if value.number is not None:
        return value.text
    escaped = value.text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


TEXTS = st.text(min_size=1, max_size=8)
PLAIN = TEXTS.filter(lambda name: name not in {*ATTRIBUTES, "status", "tags", "node", "job"})
FIELDS = st.builds(
    Field, kind=st.sampled_from(["", "metrics", "config"]), name=PLAIN.filter(lambda name: "." not in name)
)
NUMBERS = st.floats().map(lambda number: Value(text=repr(number), number=number))
ANYTHING = st.just(Value(text="*", anything=True))


def compared(sign: str) -> st.SearchStrategy[Compare]:
    value = NUMBERS if sign in "<=>=" and sign != "=" else TEXTS.map(lambda text: Value(text=text)) | NUMBERS
    values = st.lists(value | ANYTHING if sign == "=" else value, min_size=1, max_size=3).map(tuple)
    return st.builds(Compare, field=FIELDS, operator=st.just(sign), values=values)


FILTERS: st.SearchStrategy[Filter] = st.recursive(
    st.sampled_from(["=", "<", "<=", ">", ">=", "~"]).flatmap(compared),
    lambda part: (
        st.builds(Not, part)
        | st.builds(All, st.lists(part, min_size=2, max_size=3).map(tuple))
        | st.builds(Any, st.lists(part, min_size=2, max_size=3).map(tuple))
    ),
    max_leaves=8,
)


@settings(max_examples=60)
@given(FILTERS)
def test_what_is_written_is_read_as_meant(filter_: Filter) -> None:
    assert str(parse(written(filter_))) == str(filter_)  # as text: NaN equals nothing


@given(st.text(alphabet='ab1 .,=!<>~()"\\*\n\0é', max_size=30) | st.text(max_size=30))
def test_whatever_is_written_is_a_filter_or_a_clear_error(text: str) -> None:
    with contextlib.suppress(SpecError):
        assert matches(parse(text, now=NOW), look) in {True, False}
