"""What must all that brings shards to this host do? A test class derives from TierSuite and says how to make one."""

from __future__ import annotations

import itertools
import select
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path

import pytest

from leyden.data.errors import CorruptError, DataError, FetchError
from leyden.data.tiers import Tiers, make_tiers
from tests.data.tiers.numbered import Numbered, answers, ask, check, epoch


class TierSuite:
    """Tickets, order, errors, end; every byte is compared."""

    @abstractmethod
    def root(self, tmp_path: Path) -> tuple[str, Path]:
        """A root's URL, and the folder that its objects are written to."""

    @abstractmethod
    def cache(self, tmp_path: Path) -> list[str] | None:
        """For make_tiers."""

    def put(self, folder: Path, url: str, source: Numbered) -> None:
        """Store a data set's shards."""
        source.write(folder)

    @pytest.fixture
    def where(self, tmp_path: Path) -> tuple[str, Path]:
        return self.root(tmp_path)

    @pytest.fixture
    def source(self, where: tuple[str, Path]) -> Numbered:
        source = Numbered(where[0])
        self.put(where[1], where[0], source)
        return source

    @pytest.fixture
    def tiers(self, source: Numbered, tmp_path: Path) -> Iterator[Tiers]:
        made = self.make(source, tmp_path)
        yield made
        made.close()

    def make(self, source: Numbered, tmp_path: Path) -> Tiers:
        """With a short time-out."""
        return make_tiers([source], cache=self.cache(tmp_path), timeout_s=3)

    def test_every_sample_of_two_epochs_is_right(self, tiers: Tiers, source: Numbered) -> None:
        tiers.follow(itertools.cycle(range(6)))
        assert epoch(tiers, source) == 72
        assert epoch(tiers, source, start=1000) == 72
        assert sorted(source.prepared) == [*range(6)]
        assert tiers.why() == ""

    def test_files_are_given_whole_where_nothing_says_where_samples_lie(
        self, where: tuple[str, Path], tmp_path: Path
    ) -> None:
        source = Numbered(where[0], locates=False, sha=False)
        self.put(where[1], where[0], source)
        tiers = self.make(source, tmp_path)
        tiers.follow(iter(range(6)))
        assert epoch(tiers, source) == 72
        tiers.close()

    def test_nothing_ahead_is_needed(self, tiers: Tiers, source: Numbered) -> None:
        assert epoch(tiers, source) == 72

    def test_the_descriptor_is_readable_just_while_there_are_answers(self, tiers: Tiers, source: Numbered) -> None:
        assert not select.select([tiers.fileno()], [], [], 0)[0]
        ask(tiers, 1, {0: [1, 2], 3: [0]})
        found = answers(tiers, 1)
        assert not select.select([tiers.fileno()], [], [], 0)[0]
        assert check(source, {0: [1, 2], 3: [0]}, found[1]) == 3

    def test_a_path_can_be_read_until_its_ticket_is_done(self, tiers: Tiers, source: Numbered) -> None:
        ask(tiers, 1, {2: [5]})
        found = answers(tiers, 1)
        assert not isinstance(found[1], DataError)
        tiers.discard(2, found[1][2].path)
        ask(tiers, 2, {2: [5]})
        check(source, {2: [5]}, answers(tiers, 1)[2])
        check(source, {2: [5]}, found[1])
        tiers.done(1)
        tiers.done(2)

    def test_dropped_tickets_are_not_answered(self, tiers: Tiers, source: Numbered) -> None:
        for ticket in range(5):
            ask(tiers, ticket, {ticket: [0]})
        tiers.drop()
        ask(tiers, 9, {1: [3]})
        assert [*answers(tiers, 1)] == [9]

    def test_an_object_that_is_missing_is_named(self, where: tuple[str, Path], tmp_path: Path) -> None:
        source = Numbered(where[0], shards=3)
        self.put(where[1], where[0], Numbered(where[0], shards=2))
        tiers = self.make(source, tmp_path)
        ask(tiers, 1, {0: [0], 2: [4]})
        error = answers(tiers, 1, within_s=2)[1]
        assert isinstance(error, FetchError)
        assert "shard-002.bin" in str(error)
        ask(tiers, 2, {0: [0]})
        assert check(source, {0: [0]}, answers(tiers, 1)[2]) == 1
        tiers.close()

    def test_an_object_of_another_length_is_refused(self, where: tuple[str, Path], tmp_path: Path) -> None:
        self.put(where[1], where[0], Numbered(where[0]))
        for size in (239_999, 240_001):
            tiers = self.make(Numbered(where[0], size=size, sha=False), tmp_path)
            ask(tiers, 1, {0: [11]})
            error = answers(tiers, 1)[1]
            assert isinstance(error, CorruptError)
            assert "shard-000.bin" in str(error)
            assert "240,000" in str(error)
            tiers.close()

    @pytest.mark.parametrize("name", ["/etc/passwd", "../secret", "a/../../secret"])
    def test_a_name_that_leaves_its_root_is_refused(self, where: tuple[str, Path], tmp_path: Path, name: str) -> None:
        tiers = self.make(Numbered(where[0], names=(name,)), tmp_path)
        tiers.follow(iter([0]))
        ask(tiers, 1, {0: [0]})
        error = answers(tiers, 1)[1]
        assert isinstance(error, CorruptError)
        assert name in str(error)
        tiers.close()

    def test_close_can_be_called_twice_and_with_open_tickets(self, tiers: Tiers) -> None:
        for ticket in range(5):
            ask(tiers, ticket, {ticket: [0]})
        tiers.close()
        tiers.close()

    def test_sources_without_a_root_have_no_path(self, source: Numbered, tmp_path: Path) -> None:
        tiers = make_tiers([Numbered("", shards=2), source], cache=self.cache(tmp_path), timeout_s=3)
        ask(tiers, 1, {1: [0], 2: [7]})
        found = answers(tiers, 1)[1]
        assert not isinstance(found, DataError)
        assert found[1].path == ""
        assert check(source, {0: [7]}, {0: found[2]}) == 1
        tiers.close()
