"""Tests of the shop. ``pytest.ini`` names the app, and gearmesh's plugin provides the fixtures."""

from __future__ import annotations

import app as shop
import pytest

from gearmesh import App
from gearmesh.testing.broker_kit import BrokerKit
from gearmesh.worker import Worker


@pytest.fixture(autouse=True)
def empty_shop() -> None:
    shop.ORDERS.clear()
    shop.MAILS.clear()


def test_a_purchase_sends_a_charge_and_a_reminder(gearmesh_broker: BrokerKit) -> None:
    shop.buy("o1", 990)
    (call,) = gearmesh_broker.assert_enqueued(shop.charge, ("o1", 990))
    assert [after.Name for after in call.signature.OnSuccess or ()] == ["send_receipt"]
    gearmesh_broker.assert_enqueued(shop.remind, ("o1",), delay=86_400)
    gearmesh_broker.assert_enqueued("send_receipt", count=0)


def test_a_bought_order_gets_a_receipt_and_no_reminder(gearmesh_broker: BrokerKit) -> None:
    shop.buy("o1", 990)
    assert gearmesh_broker.run_all() == ["charge", "send_receipt"]
    assert shop.MAILS == ["o1"]
    gearmesh_broker.advance(86_400)
    assert gearmesh_broker.run_all() == ["remind"]
    assert shop.MAILS == ["o1"]


def test_a_payment_service_that_is_down_is_tried_again_after_a_minute(gearmesh_broker: BrokerKit) -> None:
    shop.ORDERS["o1"] = "payment is down"
    result = shop.charge.delay("o1", 990)
    assert gearmesh_broker.run_all() == ["charge"]
    assert not result.ready()
    gearmesh_broker.assert_enqueued(shop.charge, ("o1", 990), delay=60)
    gearmesh_broker.advance(45)
    assert gearmesh_broker.run_all() == []
    gearmesh_broker.advance(15)
    assert gearmesh_broker.run_all() == ["charge"]
    assert result.get(timeout=1) == "o1"


def test_a_receipt_is_mailed_once_though_the_worker_dies(gearmesh_broker: BrokerKit) -> None:
    result = shop.send_receipt.delay("o1")
    gearmesh_broker.kill_worker(shop.send_receipt)
    assert gearmesh_broker.run_all() == ["send_receipt", "send_receipt"]
    assert shop.MAILS == ["o1"]
    assert result.successful()


def test_an_order_is_sent_once_though_the_reply_is_lost(gearmesh_broker: BrokerKit) -> None:
    gearmesh_broker.lose_reply()
    shop.send_receipt.delay("o1")
    gearmesh_broker.assert_enqueued(shop.send_receipt, ("o1",), count=1, queue="mail")


def test_with_a_worker_beside_the_test(gearmesh_app: App, gearmesh_worker: Worker) -> None:
    assert gearmesh_app is shop.app
    assert shop.charge.delay("o1", 990).get(timeout=10) == "o1"
