"""The contract of settling: the effect of each way to settle, and the outcomes of a batch."""

from __future__ import annotations

import time

from gearmesh.interfaces.commit import Commit, Outcome, Publish, Settle, Token
from gearmesh.interfaces.transport import RateRequest
from gearmesh.testing.contracts.support import Hold, OpenTap, TransportFixtures, signature
from gearmesh.testing.waiting import AWAIT_TIMEOUT_S, eventually


class SettlementContract(TransportFixtures):
    """Tests that each way to settle has its effect once, even if a batch is repeated."""

    def test_acknowledged_is_gone(self, tap: OpenTap, queue: str) -> None:
        tap().publish(queue, b"x")
        here = tap(queue, prefetch=1)
        assert here.settle(*here.take(1)) == ["done"]
        here.close()
        again = tap(queue)
        again.quiet()
        assert again.waiting(queue) == []

    def test_settling_twice_is_lost(self, hold: Hold, queue: str) -> None:
        here, (message,) = hold(b"x")
        here.settle(message)
        for how in ("ack", "head", "tail", "park", "dead"):
            assert here.settle(message, how=how) == ["lost"]
        assert here.waiting(queue) == []
        assert here.verbs.dead_letters(queue) == []

    def test_head_restores_the_order(self, tap: OpenTap, hold: Hold, queue: str) -> None:
        bodies = [signature(queue, n) for n in range(4)]
        here, (a, b, c) = hold(*bodies, prefetch=3)
        assert here.settle(c, a, b, how="head") == ["done"] * 3
        here.stop()
        assert tap().waiting(queue) == bodies

    def test_head_comes_again_unchanged(self, hold: Hold, queue: str) -> None:
        here, (first,) = hold(signature(queue))
        here.settle(first, how="head")
        (second,) = here.take(1)
        assert second.body == signature(queue)
        assert second.delivery.id != first.delivery.id
        here.check_losses([second], 0)

    def test_tail(self, tap: OpenTap, queue: str) -> None:
        bodies = [signature(queue, n) for n in range(3)]
        tap().publish(queue, *bodies)
        here = tap(queue, prefetch=1)
        assert here.settle(*here.take(1), how="tail") == ["done"]
        here.stop()
        there = tap()
        if here.verbs.keeps_order:
            assert there.waiting(queue) == [bodies[1], bodies[2], bodies[0]]
        else:  # without an order there is no tail, and the message returns a little later
            eventually(lambda: there.waiting(queue) == bodies)

    def test_dead_letter(self, tap: OpenTap, queue: str) -> None:
        here, producer = tap(queue, prefetch=1), tap()
        before = time.time()
        for body, reason in ((b"x", "first"), (b"y", "other"), (b"x", "second")):
            producer.publish(queue, body)
            assert here.settle(*here.take(1), how="dead", reason=reason) == ["done"]
        letters = {letter.body: letter for letter in producer.verbs.dead_letters(queue)}
        assert {body: (x.queue, x.reason, x.count) for body, x in letters.items()} == {
            b"x": (queue, "second", 2),
            b"y": (queue, "other", 1),
        }
        x = letters[b"x"]
        assert before - 1 <= x.first <= x.last <= time.time() + 1
        assert len(producer.verbs.dead_letters(queue, 1)) == 1
        assert producer.verbs.dead_letters(f"{queue}_none") == []
        assert producer.waiting(queue) == []

    def test_dead_letters_are_taken(self, tap: OpenTap, queue: str) -> None:
        here, producer = tap(queue, prefetch=10), tap()
        bodies = [signature(queue, n) for n in range(3)]
        producer.publish(queue, *bodies)
        assert here.settle(*here.take(3), how="dead", reason="tried enough") == ["done"] * 3
        here.close()
        letters = {letter.body: letter.id for letter in producer.verbs.dead_letters(queue)}
        first, second, third = (letters[body] for body in bodies)
        assert producer.verbs.take_dead(queue, [second, "0" * 40], retry=True) == 1
        assert producer.verbs.take_dead(queue, [second], retry=True) == 0, (
            "a dead letter can be taken only once"
        )
        assert producer.waiting(queue) == [bodies[1]]
        assert producer.verbs.take_dead(queue, [first], retry=False) == 1
        assert [letter.id for letter in producer.verbs.dead_letters(queue)] == [third]
        assert producer.waiting(queue) == [bodies[1]]

    def test_later(self, tap: OpenTap, hold: Hold, queue: str) -> None:
        bodies = [signature(queue, n) for n in range(2)]
        here, messages = hold(bodies[0], bodies[0], bodies[1], prefetch=3)
        same, other, last = sorted(messages, key=lambda message: bodies.index(message.body))
        due = time.time() + 0.4
        for message in (same, other):
            assert here.settle(message, how="later", at_ns=int(due * 1e9)) == ["done"]
        waiting = tap().waiting(queue)
        assert waiting == [] or time.time() > due, "the messages returned before their time"
        here.settle(last)
        assert [message.body for message in here.take(2)] == [bodies[0]] * 2, "equal bytes are two messages"
        assert time.time() >= due - 0.01

    def test_a_limited_rate(self, tap: OpenTap, queue: str) -> None:
        verbs = tap().verbs
        requests = [RateRequest(queue, "resize", 10.0, b"%d" % n) for n in range(3)]
        before = time.time_ns()
        first, second, third = verbs.reserve(requests)
        after = time.time_ns()
        assert first == 0
        assert before + 9.5e9 < second < after + 10.5e9
        assert 9.9e9 < third - second < 10.1e9
        assert tap().verbs.reserve(requests[1:2]) == [0], "another channel must find the reservation"
        assert verbs.reserve([RateRequest(queue, "other", 10.0, b"0")]) == [0]
        assert verbs.reserve(requests[1:2])[0] > third, "a reservation can be used only once"

    def test_parking_backs_off(self, tap: OpenTap, queue: str) -> None:
        here = tap(queue, prefetch=1)
        others = [b"other"] if here.verbs.keeps_order else []
        tap().publish(queue, b"unknown", *others)
        (unknown,) = here.take(1)
        assert here.settle(unknown, how="park") == ["done"]
        here.stop()
        assert here.waiting(queue) == [*others, b"unknown"], (
            "the first time, it must return to the tail at once"
        )
        here.start()
        here.settle(*here.take(len(others)))
        for pause in (*[0.05] * self.short_parks, 0.05, 0.1, 0.2):
            (message,) = here.take(1)
            assert message.body == unknown.body
            started = time.monotonic()
            here.settle(message, how="park")
            waiting = here.waiting(queue)
            assert waiting == [] or time.monotonic() - started > pause, (
                "the message returned before its pause was over"
            )
            (message,) = here.take(1)
            assert time.monotonic() - started >= pause * 0.9
            here.settle(message, how="head")

    def test_parked_messages_return_together(self, tap: OpenTap, queue: str) -> None:
        bodies = [signature(queue, n) for n in range(20)]
        tap().publish(queue, *bodies)
        here = tap(queue, prefetch=20)
        for _ in range(3):
            messages = here.take(20)
            assert sorted(message.body for message in messages) == sorted(bodies)
            here.settle(*messages, how="park")

    def test_a_parked_message_becomes_a_dead_letter(self, tap: OpenTap, queue: str) -> None:
        tap().publish(queue, b"unknown")
        here = tap(queue, prefetch=1)
        started = time.monotonic()
        outcomes: list[Outcome] = []
        while not here.verbs.dead_letters(queue):
            assert time.monotonic() - started < AWAIT_TIMEOUT_S
            here.drain()
            while here.got:
                outcomes = here.settle(here.got.popleft(), how="park", max_age=0.3)
        assert outcomes == ["expired"], "the outcome must tell that the message is a dead letter now"
        assert time.monotonic() - started >= 0.25
        (letter,) = here.verbs.dead_letters(queue)
        assert (letter.body, letter.count) == (b"unknown", 1)
        assert letter.reason != ""
        here.quiet()

    def test_a_commit_publishes_and_settles(self, hold: Hold, queue: str) -> None:
        here, (message,) = hold(b"x")
        commit = Commit(publishes=(Publish(f"{queue}_next", b"next"),), settle=Settle(message.delivery))
        assert here.verbs.commit([commit]) == ["done"]
        assert here.verbs.commit([commit]) == ["lost"]
        assert here.waiting(f"{queue}_next") == [b"next"]

    def test_keeping_goes_on_holding(self, hold: Hold, queue: str) -> None:
        here, (message,) = hold(b"x")
        commit = Commit(
            publishes=(Publish(f"{queue}_next", b"next"),), settle=Settle(message.delivery, "keep")
        )
        assert here.verbs.commit([commit, commit]) == ["done", "done"]
        here.quiet()
        assert here.settle(message) == ["done"]
        assert here.verbs.commit([commit]) == ["lost"]
        assert here.waiting(f"{queue}_next") == [b"next"] * 2
        assert here.waiting(queue) == []

    def test_outcomes_answer_one_by_one(self, hold: Hold) -> None:
        here, (a, b, c) = hold(b"a", b"b", b"c", prefetch=3)
        here.settle(b)
        assert here.settle(a, b, c) == ["done", "lost", "done"]
        assert here.verbs.commit([]) == []

    def test_another_channel_may_settle(self, tap: OpenTap, queue: str) -> None:
        tap().publish(queue, b"x")
        here = tap(queue, prefetch=1)
        assert tap().settle(*here.take(1)) == ["done"]
        here.close()
        assert tap().waiting(queue) == []

    # -- repeated after a lost reply ---------------------------------------------------------------

    def test_a_repeated_publish_happens_once(self, tap: OpenTap, queue: str) -> None:
        here, other = tap(), tap()
        token = Token("producer", 1)
        assert here.publish(queue, b"a", b"b", token=token) == ["done", "done"]
        assert here.publish(queue, b"a", b"b", token=token) == ["done", "done"]
        assert other.publish(queue, b"a", b"b", token=token) == ["done", "done"]
        assert here.published(queue) == [b"a", b"b"]

    def test_the_next_batch_and_other_producers_publish(self, tap: OpenTap, queue: str) -> None:
        here = tap()
        for token in (Token("one", 1), Token("one", 2), Token("two", 1), None, None):
            assert here.publish(queue, b"x", token=token) == ["done"]
        assert here.waiting(queue) == [b"x"] * 5

    def test_a_large_batch_repeats_as_one(self, tap: OpenTap, queue: str) -> None:
        here = tap()
        bodies = [signature(queue, n) for n in range(700)]
        for _ in range(2):
            assert here.publish(queue, *bodies, token=Token("producer", 7)) == ["done"] * 700
        assert here.published(queue) == bodies

    def test_a_repeated_settle_answers_the_same(self, tap: OpenTap, hold: Hold, queue: str) -> None:
        here, (message,) = hold(b"x")
        commit = Commit(publishes=(Publish(f"{queue}_next", b"next"),), settle=Settle(message.delivery))
        token = Token("producer", 1)
        assert here.verbs.commit([commit], token=token) == ["done"]
        again = tap().verbs.commit([commit], token=token)
        assert again == (["done"] if here.verbs.publishes_once else ["lost"])
        assert here.waiting(f"{queue}_next") == [b"next"]

    def test_closing_puts_back_in_order(self, tap: OpenTap, hold: Hold, queue: str) -> None:
        bodies = [signature(queue, n) for n in range(6)]
        here, messages = hold(*bodies, prefetch=4)
        here.settle(messages[1])
        here.close()
        here.close()
        left = [body for body in bodies if body != messages[1].body]
        assert eventually(lambda: tap().waiting(queue)) == left
        last = tap(queue)
        again = last.take(5)
        assert last.in_order(message.body for message in again) == left
        last.check_losses(again, *[0] * 5)
