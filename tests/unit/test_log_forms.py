"""How output is written, and how a reader of server-sent events finds its place again."""

import json
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftsman.executor.output import Cut, End, LogLine
from raftsman.node.http.logforms import END_ID, Place, Record, as_ndjson, as_sse, as_text, behind, place_of
from raftsman.node.http.problems import Problem

AT = ["2026-01-31T12:00:00Z", "2026-01-31T12:00:00.5Z", "2026-01-31T12:00:01Z"]


def lines(*instants: int) -> list[Record]:
    return [LogLine(1, "stdout", AT[instant], f"line {number}") for number, instant in enumerate(instants)]


async def given_out(records: Sequence[Record]) -> AsyncIterator[Record]:
    for record in records:
        yield record


async def as_events(records: Sequence[Record], begun: Place | None = None) -> list[dict[str, str]]:
    """Return the fields of each server-sent event."""
    chunks = [chunk async for chunk in as_sse(behind(begun, given_out(records)), begun)]
    return [dict(line.split(": ", 1) for line in chunk.decode().rstrip("\n").split("\n")) for chunk in chunks]


async def test_lines_are_messages_and_the_rest_has_names() -> None:
    events = await as_events([*lines(0, 0, 1), Cut(7), End("complete", "")])
    assert [(each.get("id"), each.get("event")) for each in events] == [
        (f"1/{AT[0]}/1", None),
        (f"1/{AT[0]}/2", None),
        (f"1/{AT[1]}/1", None),
        (None, "cut"),
        (END_ID, "end"),
    ]
    assert json.loads(events[0]["data"]) == {"attempt": 1, "stream": "stdout", "at": AT[0], "line": "line 0"}


async def test_a_line_cannot_pretend_to_be_another_event() -> None:
    (event,) = await as_events([LogLine(1, "stdout", AT[0], "a\r\n\ndata: forged\n\nid: 7")])
    assert event["id"] == f"1/{AT[0]}/1"
    assert json.loads(event["data"])["line"] == "a\r\n\ndata: forged\n\nid: 7"


@given(st.lists(st.integers(0, 2), min_size=1, max_size=10).map(sorted), st.data())
async def test_no_line_is_lost_or_repeated_wherever_a_reader_was(instants: list[int], data: st.DataObject) -> None:
    whole = lines(*instants)
    events = await as_events(whole)
    cut = data.draw(st.integers(1, len(events)))
    place = place_of(events[cut - 1]["id"])
    since = [each for each in whole if isinstance(each, LogLine) and AT.index(each.at) >= AT.index(place.at)]
    assert await as_events(since, place) == events[cut:]


@pytest.mark.parametrize("place", [Place(1, AT[0], 3), Place(12, "", 1)])
def test_a_place_reads_as_it_was_written(place: Place) -> None:
    assert place_of(str(place)) == place


@pytest.mark.parametrize(
    "text", ["", "1", "1/2", "0//1", "1//0", "x/y/z", "-1//1", "1/yesterday/1", "1//²", "1//" + "1" * 10]
)
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(Problem) as caught:
        place_of(text)
    assert caught.value.code == "invalid-parameter"


async def test_text_says_in_brackets_what_is_missing() -> None:
    records = [*lines(0), Cut(7), End("truncated", "the node was killed")]
    assert b"".join([chunk async for chunk in as_text(given_out(records))]) == (
        b"line 0\n[raftsman: 7 bytes of output were not kept]\n[raftsman: output truncated: the node was killed]\n"
    )


async def test_ndjson_is_one_record_a_line() -> None:
    chunks = [chunk async for chunk in as_ndjson(given_out([*lines(0), Cut(7), End("complete", "")]))]
    assert [json.loads(chunk) for chunk in chunks][1:] == [{"cut": 7}, {"end": "complete", "reason": None}]
