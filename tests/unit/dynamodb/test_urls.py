"""URLs of DynamoDB, as Machinery takes them and as emulators need them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gearmesh.config import Config, DynamoDBConfig
from gearmesh.errors import ConfigError
from gearmesh.urls import DynamoDBTarget, parse


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://dynamodb", DynamoDBTarget()),
        ("https://dynamodb.eu-west-1.amazonaws.com", DynamoDBTarget(region="eu-west-1")),
        ("https://dynamodb.us-gov-west-1.amazonaws.com/", DynamoDBTarget(region="us-gov-west-1")),
        ("https://dynamodb.cn-north-1.amazonaws.com.cn", DynamoDBTarget(region="cn-north-1")),
        ("HTTPS://DynamoDB.EU-West-1.AmazonAWS.com:443", DynamoDBTarget(region="eu-west-1")),
        (
            "https://dynamodb-fips.us-east-1.amazonaws.com",
            DynamoDBTarget(region="us-east-1", endpoint="https://dynamodb-fips.us-east-1.amazonaws.com"),
        ),
        ("https://dynamodb.lan:8443", DynamoDBTarget(endpoint="https://dynamodb.lan:8443")),
        (
            "http://127.0.0.1:8000",
            DynamoDBTarget(endpoint="http://127.0.0.1:8000", emulator=True, scheme="http"),
        ),
        ("http://[::1]:8000", DynamoDBTarget(endpoint="http://[::1]:8000", emulator=True, scheme="http")),
    ],
)
def test_a_url_is_read(url: str, target: DynamoDBTarget) -> None:
    assert parse(url, "backend") == target
    again = parse(target.url, "backend")
    assert isinstance(again, DynamoDBTarget)
    assert (again.region, again.endpoint) == (target.region, target.endpoint)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://key:secret@dynamodb.eu-west-1.amazonaws.com", "login"),
        ("https://dynamodb.eu-west-1.amazonaws.com/states", "path"),
        ("https://example.com", "https://dynamodb"),
        ("https://", "https://dynamodb"),
        ("https://dynamodb?region=eu-west-1", "options"),
        ("http://127.0.0.1:port", "host:port"),
    ],
)
def test_a_wrong_url(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        parse(url, "backend")
    assert "secret" not in str(refused.value)


def test_it_is_no_lock() -> None:
    with pytest.raises(ConfigError, match="unknown URL scheme"):
        parse("https://dynamodb", "lock")


# --- settings ------------------------------------------------------------------------------------


class Client:
    """Has the one method by which a client is known."""

    def batch_get_item(self) -> None:
        """Do nothing."""


def test_a_client_of_the_caller_s_own() -> None:
    client = Client()
    for given in ({"client": client}, DynamoDBConfig(client=client)):
        config = Config.load(env={}, broker="eager", dynamodb=given)
        assert config.dynamodb.client is client
        assert config.having({"default_queue": "q"}).dynamodb.client is client
        assert config.reload().dynamodb.client is client
    assert Config.load(env={}, broker="eager", dynamodb={"client": Client}).dynamodb.client is Client
    assert "client" not in repr(config.dynamodb)


def test_a_client_is_nothing_for_a_file() -> None:
    with pytest.raises(ConfigError, match=r"dynamodb\.client is 'boto3', expected a client"):
        Config.load(env={}, broker="eager", dynamodb={"client": "boto3"})


# --- boto3 is imported for a URL of DynamoDB only -------------------------------------------------


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_other_apps_import_no_boto3() -> None:
    code = """
import sys, gearmesh
app = gearmesh.App("redis://127.0.0.1:1", "redis://127.0.0.1:1")
app.backend
print([name for name in sys.modules if name.partition(".")[0] in ("boto3", "botocore")])
"""
    assert run(code) == "[]"


def test_a_missing_extra_is_named() -> None:
    code = """
import sys
sys.modules["boto3"] = None
from gearmesh import App, ConfigError
try:
    App("eager", "https://dynamodb.eu-west-1.amazonaws.com").backend
except ConfigError as exc:
    print(exc)
"""
    assert "pip install 'gearmesh[dynamodb]'" in run(code)
