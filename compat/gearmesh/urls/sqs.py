"""Reads the URL of Amazon SQS in Machinery's form."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Final

from gearmesh.urls.given import GivenURL

__all__ = ["SQSTarget", "parse_sqs"]

#: Go: any value of this variable allows endpoints whose name does not begin with "sqs", such as an emulator's.
ANY_ENDPOINT: Final = "DISABLE_STRICT_SQS_CHECK"
#: The host names of SQS and of its private endpoints, with the region in them.
_REGION: Final = re.compile(
    r"(?:^|\.)sqs(?:-fips)?\.([a-z0-9-]+)\.|^([a-z0-9-]+)\.queue\.amazonaws\.", re.ASCII
)


@dataclass(frozen=True, slots=True)
class SQSTarget:
    """The address of the queues of one account in one region.

    Attributes:
        endpoint: scheme, host and port: the endpoint of an SQS client.
        account: the account's number, which is the beginning of the path of queue URLs; ``""``: the URL has none.
        region: the region in the host name; ``""``: the name has none.
    """

    endpoint: str
    account: str = ""
    region: str = ""

    def queue_url(self, queue: str) -> str:
        """Return the URL of a queue. Go: the broker URL, a slash and the queue's name."""
        return "/".join(filter(None, (self.endpoint, self.account, queue)))


def parse_sqs(given: GivenURL) -> SQSTarget:
    """Read ``https://sqs.REGION.amazonaws.com/ACCOUNT``.

    The environment variable ``DISABLE_STRICT_SQS_CHECK`` allows any other http or https URL. Raises ConfigError.
    """
    userinfo, address, path = given.split()
    if userinfo:
        raise given.wrong(
            "expected no user and no password: boto3 finds the credentials, as in any program for AWS"
        )
    if not (given.scheme == "https" and address.lower().startswith("sqs")) and not os.environ.get(
        ANY_ENDPOINT
    ):
        raise given.wrong(
            f"expected https://sqs.REGION.amazonaws.com/ACCOUNT; for another endpoint, such as an emulator or a VPC "
            f"endpoint, set {ANY_ENDPOINT}=true in the environment"
        )
    given.address(address, 443 if given.scheme == "https" else 80)
    found = _REGION.search(address.lower())
    region = "" if found is None else found[1] or found[2]
    return SQSTarget(f"{given.scheme}://{address}", path.strip("/"), region)
