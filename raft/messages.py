"""What nodes say to each other: msgpack frames, checked while they are decoded.

A frame is four bytes of length, then an array whose first element names the message. Nothing here knows
sockets (``transport``) or what a message does (``participant``); no class name and no code comes from bytes.
"""

from typing import Annotated, Any, cast

import msgspec
from msgspec import Meta, Struct

from raftsman.raft.limits import COMMAND_BYTES

PROTOCOL = 1
FRAME_BYTES = COMMAND_BYTES + 4096
"""A frame behind the hello: all that a member can make us keep at a time. The longest command, and words around it."""
ENTRIES_BYTES = 64 << 10
"""The entries of an append, unless one alone is longer: a slow line delivers a sign of the leader in good time."""
ENTRY_BYTES = 16
"""What an entry needs beside its command, at most."""
HELLO_BYTES = 256
"""All that a stranger can make us keep."""
LENGTH_BYTES = 4

Count = Annotated[int, Meta(ge=0, le=(1 << 62) - 1)]
Name = Annotated[str, Meta(min_length=1, max_length=63)]
Digest = Annotated[str, Meta(max_length=16)]


class MalformedFrame(ValueError):
    """Bytes that are no message."""


class Message(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Something that one node tells another."""


class Hello(Message, frozen=True, tag="hello", kw_only=True, forbid_unknown_fields=False):
    """The first frame in each direction: who speaks, to whom, of which cluster.

    What a newer version may have added behind it is left out, so that its number can be read, and refused by name.
    """

    protocol: Count
    cluster: Name
    cluster_id: Digest  # "" until the cluster is founded, or this node has joined.
    node: Name
    to: Name
    incarnation: Digest  # The directory's: a node that lost its disk has another one.


class Farewell(Message, frozen=True, tag="farewell", forbid_unknown_fields=False):
    """Why the sender closes the connection; the only answer to a hello that is refused."""

    reason: Annotated[str, Meta(max_length=200)]


class Status(Message, frozen=True, tag="status", kw_only=True):
    """How far the sender has come to be a member that counts, and whether its disk has no room for more."""

    stage: Annotated[str, Meta(max_length=16)]
    cluster_id: Digest
    incarnation: Digest
    founding: Annotated[dict[str, str], Meta(max_length=64)]
    disk_full: bool = False


class Noted(Message, frozen=True, tag="noted", kw_only=True):
    """The sender has forgotten all that an earlier directory of the receiver said; its term at that moment."""

    incarnation: Digest
    term: Count


class Append(Message, frozen=True, tag="append", kw_only=True):
    """Entries behind (*prev_index*, *prev_term*), each (term, command); none is a heartbeat."""

    term: Count
    seq: Count
    prev_index: Count
    prev_term: Count
    commit: Count
    entries: tuple[tuple[Count, bytes], ...] = ()


class Chunk(Message, frozen=True, tag="chunk", kw_only=True):
    """A piece of the snapshot of everything up to (*index*, *index_term*)."""

    term: Count
    seq: Count
    index: Count
    index_term: Count
    offset: Count
    payload: bytes
    last: bool


class Ack(Message, frozen=True, tag="ack", kw_only=True):
    """The answer to an append, or to a whole snapshot: *next_index* is wanted; *success*: all before is there."""

    term: Count
    seq: Count
    next_index: Count
    success: bool
    reset: bool = False


class ChunkAck(Message, frozen=True, tag="chunk-ack", kw_only=True):
    """How much of the snapshot has arrived; 0: begin again. The end of a transfer is answered by an ``Ack``."""

    term: Count
    seq: Count
    index: Count
    received: Count


class AskVote(Message, frozen=True, tag="ask-vote", kw_only=True):
    """The sender stands in *term*; *transfer*: because its leader asked it to."""

    term: Count
    last_index: Count
    last_term: Count
    transfer: bool = False


class Vote(Message, frozen=True, tag="vote", kw_only=True):
    """The answer; a refusal says the voter's term."""

    term: Count
    granted: bool


class AskPreVote(Message, frozen=True, tag="ask-pre-vote", kw_only=True):
    """The sender asks whether the receiver would vote for it in *term*."""

    term: Count
    last_index: Count
    last_term: Count


class PreVote(Message, frozen=True, tag="pre-vote", kw_only=True):
    """The answer about *asked*; *term* is the receiver's own."""

    term: Count
    asked: Count
    granted: bool


class TimeoutNow(Message, frozen=True, tag="timeout-now", kw_only=True):
    """The leader wants the receiver to stand at once."""

    term: Count


class Propose(Message, frozen=True, tag="propose", kw_only=True):
    """A follower's command, for the leader."""

    number: Count
    command: bytes


class Proposed(Message, frozen=True, tag="proposed", kw_only=True):
    """Where the command stands in the leader's log; index 0: the receiver of the command did not lead."""

    number: Count
    index: Count
    term: Count


class AskRead(Message, frozen=True, tag="ask-read", kw_only=True):
    """A follower wants to know which index a consistent read needs."""

    number: Count


class Read(Message, frozen=True, tag="read", kw_only=True):
    """That index; 0: the receiver of the question did not lead."""

    number: Count
    index: Count


Anything = (
    Hello
    | Farewell
    | Status
    | Noted
    | Append
    | Chunk
    | Ack
    | ChunkAck
    | AskVote
    | Vote
    | AskPreVote
    | PreVote
    | TimeoutNow
    | Propose
    | Proposed
    | AskRead
    | Read
)

_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Anything)


def encode(message: Message) -> bytes:
    """Return the frame of *message*, its length in front."""
    body = _ENCODER.encode(message)
    assert len(body) <= FRAME_BYTES, f"a {type(message).__name__} of {len(body)} bytes"
    return len(body).to_bytes(LENGTH_BYTES) + body


def decode(body: bytes | bytearray | memoryview) -> Message:
    """Return the message of a frame without its length. Raises MalformedFrame."""
    try:
        return cast("Message", _DECODER.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:  # ValidationError is a DecodeError.
        raise MalformedFrame(str(error)) from error
