"""leyden diff: what differed between two jobs?"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator

import click

from leyden.cli.common import known, print_json
from leyden.cli.screen import BOLD, CYAN, DIM, GREEN, RED, painter
from leyden.cli.usage import SETTINGS, json_option
from leyden.client.difference import Difference, Fact, FileChange, compare
from leyden.core.ids import short_id

Paint = Callable[..., str]
_BAR = 40
_LACKING = 20


@click.command(context_settings=SETTINGS)
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--stat", is_flag=True, help="Of code only how many lines of each file.")
@json_option
def command(first: str, second: str, stat: bool, output: str) -> None:
    """Show what differed between two jobs: arguments, variables, environment, size, policy, code.

    \b
    leyden diff q7k2 9xa1         from the first to the second
    leyden diff q7k2 last --stat  of code only the counts
    leyden diff q7k2 9xa1 | less

    Code is compared as it was copied, uncommitted changes included. Variables and arguments whose names speak of a
    key, token, secret or password are shown as changed, without their values.
    """
    found = compare(known(), first, second)
    if output == "json":
        files = [dataclasses.replace(one, text="") if stat else one for one in found.files]
        print_json(dataclasses.replace(found, files=tuple(files)))
        return
    paint = painter(sys.stdout)
    print("\n".join(page(found, paint, stat=stat)))


def page(found: Difference, paint: Paint, *, stat: bool) -> Iterator[str]:
    """The difference as lines."""
    yield paint(f"{short_id(found.before)} → {short_id(found.after)}", BOLD)
    if found.empty:
        yield "  no difference in code, arguments, variables, environment, size or policy"
    for section in dict.fromkeys(fact.section for fact in found.facts):
        yield ""
        yield paint(section.capitalize(), BOLD)
        facts = [fact for fact in found.facts if fact.section == section]
        shown = _few(facts)
        yield from _facts(shown, paint)
        if len(shown) < len(facts):
            yield paint(f"  … and {len(facts) - len(shown)} that only one side has; -o json lists all", DIM)
    if found.files:
        yield ""
        yield paint(_summary(found.files), BOLD)
        yield from (_stat(found.files, paint) if stat else _changes(found.files, paint))


def _few(facts: list[Fact]) -> list[Fact]:
    """All that changed, and the first of those that one side lacks: two environments may share nothing."""
    lacking = [fact for fact in facts if fact.before is None or fact.after is None]
    return [fact for fact in facts if fact not in lacking[_LACKING:]]


def _facts(facts: list[Fact], paint: Paint) -> Iterator[str]:
    width = max(len(_visible(fact.name)) for fact in facts)
    for fact in facts:
        name = f"{_visible(fact.name):<{width}}"
        before, after = (None if value is None else _visible(value) for value in (fact.before, fact.after))
        if before is None:
            yield f"  {name}  {paint(f'+ {after}'.rstrip(), GREEN)}"
        elif after is None:
            yield f"  {name}  {paint(f'- {before}'.rstrip(), RED)}"
        else:
            yield f"  {name}  {paint(before, RED)} → {paint(after, GREEN)}"


def _summary(files: tuple[FileChange, ...]) -> str:
    added, removed = sum(one.added for one in files), sum(one.removed for one in files)
    return f"{len(files)} file{'s' * (len(files) != 1)} changed, +{added} −{removed} lines"


def _stat(files: tuple[FileChange, ...], paint: Paint) -> Iterator[str]:
    width = max(len(_visible(one.path)) for one in files)
    most = max(1, *(one.added + one.removed for one in files))
    scale = min(1.0, _BAR / most)
    for one in files:
        plus, minus = (round(count * scale) or int(count > 0) for count in (one.added, one.removed))
        bar = f"{one.added + one.removed:>5} {paint('+' * plus, GREEN)}{paint('-' * minus, RED)}"
        note = " ".join(part for part in (one.what if one.what != "changed" else "", one.note) if part)
        yield f"  {_visible(one.path):<{width}}  {bar if one.text else ''} {paint(_visible(note), DIM)}".rstrip()


def _changes(files: tuple[FileChange, ...], paint: Paint) -> Iterator[str]:
    for one in files:
        note = f" ({_visible(one.note)})" if one.note else ""
        yield paint(f"{one.what} {_visible(one.path)}{note}", BOLD)
        for number, line in enumerate(one.text.split("\n") if one.text else ()):
            colours = (BOLD,) if number < 2 else _COLOURS.get(line[:1], ())
            yield paint(_visible(line), *colours)


_COLOURS = {"+": (GREEN,), "-": (RED,), "@": (CYAN,)}


def _visible(text: str) -> str:
    """Without control characters, which could do things to the terminal; tabs stay.

    >>> _visible("a\\x1b[2J\\tb")
    'a?[2J\\tb'
    """
    return "".join(char if char.isprintable() or char == "\t" else "?" for char in text)
