"""Do messages come whole, however they are cut on their way?"""

from __future__ import annotations

import pickle
import socket
import struct

import pytest

from leyden.data.workers.messages import Answer, Channel


def test_messages_in_pieces_large_ones_and_the_end() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(True)
    channel, other = Channel(ours), Channel(theirs)
    assert channel.fetch() == []
    large = Answer(number=1, skipped=("x" * 3_000_000,))
    other.post(large)  # more than a socket takes
    other.post(Answer(number=2))
    found: list[Answer] = []
    while len(found) < 2:
        found += channel.fetch()
        other.post()
    assert found == [large, Answer(number=2)]
    body = pickle.dumps(Answer(number=3))
    raw = struct.pack("<Q", len(body)) + body
    for byte in range(len(raw) - 1):
        theirs.send(raw[byte : byte + 1])
        assert channel.fetch() == []
    theirs.send(raw[-1:])
    theirs.send(raw[:-1])  # dies in the middle of a message
    theirs.close()
    assert channel.fetch() == [Answer(number=3)]
    with pytest.raises(EOFError):
        channel.fetch()
    channel.post(Answer(number=4))  # to nobody
    channel.close()
