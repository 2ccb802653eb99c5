"""Reads the URL of DynamoDB in Machinery's form."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from gearmesh.urls.addresses import shown_address
from gearmesh.urls.given import GivenURL

__all__ = ["DynamoDBTarget", "parse_dynamodb"]

#: The host of a region's DynamoDB; every AWS client knows it from the region.
_AWS_HOST: Final = re.compile(
    r"dynamodb\.([a-z]{2}(?:-[a-z]+)+-[0-9]+)\.amazonaws\.com(?:\.cn)?", re.IGNORECASE
)
#: The region in the host of another endpoint of AWS: ``dynamodb-fips.us-east-1.amazonaws.com``.
_REGION: Final = re.compile(r"dynamodb[a-z-]*\.([a-z]{2}(?:-[a-z]+)+-[0-9]+)\.", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class DynamoDBTarget:
    """The region or endpoint of a DynamoDB.

    Attributes:
        region: the AWS region; ``""``: that of the environment, as for every AWS client.
        endpoint: the URL for requests; ``""``: AWS_ENDPOINT_URL if it is set, else the region's own.
        emulator: True: the URL begins with ``http://``, so it is not AWS and needs no credentials.
        scheme: ``"https"`` or ``"http"``.
    """

    region: str = ""
    endpoint: str = ""
    emulator: bool = False
    scheme: str = "https"

    @property
    def url(self) -> str:
        """A URL with the same meaning."""
        return self.endpoint or (
            "https://dynamodb" + (f".{self.region}.amazonaws.com" if self.region else "")
        )


def parse_dynamodb(given: GivenURL) -> DynamoDBTarget:
    """Read ``https://dynamodb.REGION.amazonaws.com``, ``https://dynamodb``, or ``http://host:port`` of an emulator.

    Go: any URL that begins with ``https://dynamodb`` means DynamoDB. Go ignores the rest of the URL: region, endpoint
    and credentials come from the AWS environment, or from a client that the program makes. gearmesh uses a region in
    the URL, and a host that is not AWS's. ``https://dynamodb`` alone leaves everything to the environment, in both.

    Raises:
        ConfigError: the URL holds a login, a path, or a host that Machinery would not take for DynamoDB.
    """
    login, address, path = given.split()
    if login:
        raise given.wrong(
            "a login in the URL; AWS credentials belong in the environment or in your own client"
        )
    if path:
        raise given.wrong(
            "a path after the host; dynamodb.task_states_table and dynamodb.group_metas_table name the tables"
        )
    if given.scheme == "http":
        host, port = given.address(address, 80)
        return DynamoDBTarget(endpoint=f"http://{shown_address(host, port)}", emulator=True, scheme="http")
    if not address.lower().startswith("dynamodb"):
        raise given.wrong(
            "expected https://dynamodb… as Machinery does, or http://host:port of an emulator; name another endpoint "
            "in AWS_ENDPOINT_URL_DYNAMODB"
        )
    if address.lower() == "dynamodb":
        return DynamoDBTarget()
    host, port = given.address(address, 443)
    if port == 443 and (aws := _AWS_HOST.fullmatch(host)):
        return DynamoDBTarget(region=aws[1].lower())
    region = _REGION.match(host)
    where = host if port == 443 else shown_address(host, port)
    return DynamoDBTarget(region=region[1].lower() if region else "", endpoint=f"https://{where}")
