"""Messages, states and group metas of seven releases of Machinery are read, and written again to the byte."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gearmesh.wire.codec import decode, decode_group, decode_state, encode, encode_group, encode_state
from gearmesh.wire.releases import ReleaseLimits, parse_releases

GOLDEN = Path(__file__).parents[1] / "golden" / "releases.jsonl"
RECORDS = [json.loads(line) for line in GOLDEN.read_text().splitlines()]
RELEASES = tuple(dict.fromkeys(record["release"] for record in RECORDS))
#: Fields that exist since v1.7.0; before, Go neither writes nor reads them.
NEWER_FIELDS = (',"Priority":0', ',"StopTaskDeletionOnError":false', ',"IgnoreWhenTaskNotRegistered":false')


def texts(release: str, kind: str) -> list[str]:
    found = [record["text"] for record in RECORDS if (record["release"], record["kind"]) == (release, kind)]
    assert found
    return found


def test_there_are_all_releases() -> None:
    assert RELEASES == ("v1.6.6", "v1.8.8", "v1.10.6", "v1.10.8", "v2.0.10", "v2.0.13", "v2.0.16")


@pytest.mark.parametrize("release", RELEASES)
def test_messages_are_written_as_go_writes_them(release: str) -> None:
    limits = ReleaseLimits(parse_releases(release), amqp=True)
    for text in texts(release, "message"):
        ours = encode(decode(text.encode())).decode()
        if release.startswith("v1.6."):
            assert not any(field.split(":")[0] in text for field in NEWER_FIELDS)
            for field in NEWER_FIELDS:
                ours = ours.replace(field, "")
        assert ours == text
        limits.check_message("q", text.encode())  # a peer of that release accepts its own messages


@pytest.mark.parametrize("release", RELEASES)
def test_states_and_groups_are_written_as_go_writes_them(release: str) -> None:
    for kind, again in (("state", _state), ("group", _group)):
        for text in texts(release, kind):
            ours = again(text.encode()).decode()
            if release.startswith("v1.6."):
                assert "TTL" not in text
                ours = ours.replace(',"TTL":0', "")
            assert ours == text


def _state(text: bytes) -> bytes:
    return encode_state(decode_state(text))


def _group(text: bytes) -> bytes:
    return encode_group(decode_group(text))
