"""Servers that come as Java archives: found on the machine, or fetched from Maven Central once."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from gearmesh.testing.servers import ServerMissing

__all__ = ["DYNAMODB_LOCAL", "ELASTICMQ", "Artifact", "cache_folder", "find_java"]


def cache_folder() -> Path:
    """The folder that keeps fetched and built servers between runs: ``GEARMESH_TEST_CACHE``, else the user's cache."""
    base = os.environ.get("GEARMESH_TEST_CACHE")
    if base:
        return Path(base)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "gearmesh-tests")


def find_java() -> str:
    """The path of a Java 17 or later: ``GEARMESH_JAVA``, else the one on PATH. Raises ServerMissing."""
    if path := os.environ.get("GEARMESH_JAVA") or shutil.which("java"):
        return path
    raise ServerMissing("no java: apt-get install maven")


@dataclass(frozen=True)
class Artifact:
    """A program on Maven Central, with the archives that it needs.

    Attributes:
        group: its Maven group.
        name: its Maven name.
        version: its version.
    """

    group: str
    name: str
    version: str

    def class_path(self) -> str:
        """The class path of the program; Maven fetches it at the first call on a machine.

        Raises:
            ServerMissing: the archives are not here, and Maven is not here or cannot fetch them.
        """
        folder = cache_folder() / f"{self.name}-{self.version}"
        if not folder.is_dir():
            self._fetch(folder)
        return f"{folder}/*"

    def _fetch(self, folder: Path) -> None:
        maven = shutil.which("mvn")
        if maven is None:
            raise ServerMissing(f"no {self.name} {self.version}: apt-get install maven, which fetches it")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with Path(f"{folder}.lock").open("w") as lock, tempfile.TemporaryDirectory(dir=folder.parent) as work:
            fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may ask at once
            if folder.is_dir():
                return
            project = Path(work, "pom.xml")
            project.write_text(
                "<project><modelVersion>4.0.0</modelVersion>"
                "<groupId>gearmesh.tests</groupId><artifactId>servers</artifactId><version>1</version>"
                f"<dependencies><dependency><groupId>{self.group}</groupId><artifactId>{self.name}</artifactId>"
                f"<version>{self.version}</version></dependency></dependencies></project>"
            )
            fetched = Path(work, "jars")
            done = subprocess.run(
                [
                    maven,
                    "-B",
                    "-q",
                    "-f",
                    project,
                    "dependency:copy-dependencies",
                    f"-DoutputDirectory={fetched}",
                ],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise ServerMissing(f"{self.name} {self.version}: Maven failed: {done.stdout[-500:]}")
            fetched.rename(folder)


#: SQS for tests. Apache licence.
ELASTICMQ = Artifact("org.elasticmq", "elasticmq-server_2.13", "1.7.1")
#: DynamoDB for tests, by Amazon. It has a licence of its own: it is installed for tests, and never shipped.
DYNAMODB_LOCAL = Artifact("com.amazonaws", "DynamoDBLocal", "2.6.1")
