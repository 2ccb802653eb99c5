"""The Python peer, and the code that starts peers, each alone."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gearmesh.testing.peer import Counter, Peer, make_app
from gearmesh.testing.peerproc import PeerDied, PeerError, PeerProcess, PeerTimeout, python_peer

from .scenarios import call, i64, sig


def script(text: str) -> list[str]:
    """Return the command line of a program that reports that it is ready and then runs the code ``text``."""
    ready = 'import sys, time; print(\'{"OK":true,"Raw":"ready"}\', flush=True); '
    return [sys.executable, "-c", ready + text]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"not json", "malformed"),
        (b"[]", "object"),
        (b'{"Op":"sing"}', "unknown Op 'sing'"),
        (b"{}", "unknown Op ''"),
        (b'{"Op":"call"}', "Sig is missing"),
        (b'{"Op":"call","Sig":null}', "Sig is missing"),
        (b'{"Op":"call","Sig":{"Name":1}}', "number"),
        (b'{"Op":"chain"}', "Sigs is missing"),
        (b'{"Op":"chord","Sigs":[{"Name":"add"}]}', "Callback is missing"),
        (b'{"Op":"periodic","Spec":"@every 1s","Name":"n"}', "Sig is missing"),
        (
            b'{"Op":"periodic","Spec":"@every 1d","Name":"n","Sig":{"Name":"add"}}',
            "unit 'd', expected one of",
        ),
        (b'{"Op":"state","UUID":"nobody"}', "no state of 'nobody'"),
        (b'{"Op":"group_states","UUID":"nobody"}', "no group 'nobody'"),
        (b'{"Op":"send","Sig":{"Name":"add","Args":[{"Type":"int8","Value":128}]}}', "out of range"),
        (
            b'{"Op":"group","Sigs":[{"Name":"add","Args":[{"Type":"x","Value":1}]}]}',
            "not one of supported types",
        ),
        (
            b'{"Op":"send","Sig":{"Name":"x","OnError":[{"Name":"y","Args":[{"Type":"x","Value":1}]}]}}',
            "supported types",
        ),
    ],
)
def test_refusals(line: bytes, error: str) -> None:
    with make_app(broker="memory://refusals", backend="memory://refusals") as app:
        answer = Peer(app, Counter()).answer(line).decode()
    assert answer.startswith('{"OK":false,"Err":"')
    assert answer.endswith(',"N":0}')
    assert error in answer


def test_only_and_skip() -> None:
    with make_app(broker="memory://some", only=["add", "noop", "fail"], skip=["noop"]) as app:
        assert sorted(app.tasks) == ["add", "fail"]
    with make_app(broker="memory://all") as app:
        assert len(app.tasks) == 6 + 29 + 7


def test_counter_begins_anew_once_reached() -> None:
    counter = Counter()
    for _ in range(3):
        counter.up()
    assert counter.take(4, timeout=0) == (False, 3)
    assert counter.take(2, timeout=0) == (True, 3)
    assert counter.take(1, timeout=0) == (False, 0)


@pytest.mark.parametrize("ending", ["end of input", signal.SIGTERM, signal.SIGINT], ids=str)
def test_orderly_ends(ending: str | signal.Signals, fresh_url: Callable[[], str]) -> None:
    url = fresh_url()
    with PeerProcess(python_peer("-broker", url, "-backend", url, "-concurrency", "1")) as peer:
        assert peer.ask(call(sig("add", i64(1))))["Results"] == [1]
        if isinstance(ending, signal.Signals):
            os.kill(peer.pid, ending)
            assert peer.wait() == 0
        peer.close()
        assert peer.wait() == 0
    assert not peer.running


def test_a_bad_start_says_why(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with (
        pytest.raises(PeerError, match="instead of ready"),
        PeerProcess(python_peer("-broker", "x://y"), log=log),
    ):
        pass
    with pytest.raises(PeerDied, match="unrecognized arguments"), PeerProcess(python_peer("-colour", "red")):
        pass
    with pytest.raises(PeerError, match="cannot start"), PeerProcess(["/no/such/program"]):
        pass


def test_the_error_contains_the_last_words_of_the_peer() -> None:
    with (
        pytest.raises(PeerDied, match="last words"),
        PeerProcess(script("sys.stderr.write('last words'); sys.stdin.readline()")) as peer,
    ):
        peer.ask(Op="x")


def test_a_silent_peer_is_ended() -> None:
    with PeerProcess(script("time.sleep(600)")) as peer:
        with pytest.raises(PeerTimeout):
            peer.ask({"Op": "x"}, timeout=0.05)
        assert not peer.running
        with pytest.raises(PeerDied):
            peer.ask(Op="x")


def test_a_peer_that_talks_a_lot_is_drained() -> None:
    noise = "[sys.stderr.write('x' * 99 + chr(10)) for _ in range(20000)]; "
    with PeerProcess(script(noise + "sys.stdin.readline(); print('{}', flush=True)")) as peer:
        assert peer.ask(Op="x") == {}
        assert len(peer.log_text()) == 2_000_000


def test_a_line_that_is_no_answer_is_a_peer_error() -> None:
    with (
        PeerProcess(script("sys.stdin.readline(); print('hello', flush=True)")) as peer,
        pytest.raises(PeerError),
    ):
        peer.ask(Op="x")


def test_starting_and_ending_twice() -> None:
    peer = PeerProcess(script("sys.stdin.read()"))
    peer.start()
    with pytest.raises(PeerError, match="started already"):
        peer.start()
    peer.close()
    peer.close()
    assert peer.pid == 0
