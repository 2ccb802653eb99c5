"""The files of ``deploy/``: they are well formed, and name commands and options that exist."""

from __future__ import annotations

import configparser
import json
import re
import shlex
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner

from gearmesh.cli import main
from gearmesh.worker.managed_process import STOP_DELAY_S

DEPLOY = Path(__file__).parents[3] / "deploy"
UNITS = sorted(DEPLOY.glob("systemd/*.service"))
MANIFESTS = sorted(DEPLOY.glob("kubernetes/*.yaml"))


#: The version whose schemas the manifests must fit.
KUBERNETES = "1.29"


def unit(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(path)
    return parser


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def containers(path: Path) -> list[dict[str, Any]]:
    return [
        container
        for each in documents(path)
        if each["kind"] == "Deployment"
        for container in each["spec"]["template"]["spec"]["containers"]
    ]


def docker_command() -> list[str]:
    text = (DEPLOY / "docker/Dockerfile").read_text()
    (line,) = re.findall(r"^CMD (\[.*\])$", text, re.MULTILINE)
    shell, option, script = json.loads(line)
    assert (shell, option) == ("sh", "-c")
    return shlex.split(script.removeprefix("exec "))


def command_lines() -> list[list[str]]:
    found = [shlex.split(unit(path)["Service"]["ExecStart"]) for path in UNITS]
    found.append(docker_command())
    for path in MANIFESTS:
        for container in containers(path):
            found.append([*container["command"], *container["args"]])
            probes = [container.get(f"{kind}Probe", {}) for kind in ("startup", "liveness", "readiness")]
            found += [probe["exec"]["command"] for probe in probes if "exec" in probe]
    return found


@pytest.mark.parametrize("words", command_lines(), ids=lambda words: " ".join(words)[:60])
def test_each_command_exists_with_its_options(words: list[str]) -> None:
    assert words[0].rpartition("/")[2] == "gearmesh"
    done = CliRunner().invoke(main, [*words[1:], "--help"])
    assert done.exit_code == 0, done.output


def option(words: list[str], name: str) -> float:
    joined = " ".join(words).replace("=", " ").split()
    return float(joined[joined.index(name) + 1])


def test_service_managers_wait_longer_than_a_worker_may_take_to_stop() -> None:
    service = unit(DEPLOY / "systemd/gearmesh-worker@.service")["Service"]
    grace = option(shlex.split(service["ExecStart"]), "--grace")
    assert float(service["TimeoutStopSec"]) > grace + STOP_DELAY_S
    (deployment, _) = documents(DEPLOY / "kubernetes/worker.yaml")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    hook = float(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > option(container["args"], "--grace") + STOP_DELAY_S + hook


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_units(path: Path) -> None:
    parser = unit(path)
    assert parser.sections() == ["Unit", "Service", "Install"]
    service = parser["Service"]
    assert service["User"] == "gearmesh"
    assert service["Restart"] == "always"
    if service["Type"] == "notify":
        assert service["NotifyAccess"] == "main"


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifests(path: Path) -> None:
    for document in documents(path):
        assert {"apiVersion", "kind", "metadata", "spec"} <= set(document)
    for container in containers(path):
        secure = container["securityContext"]
        assert secure["allowPrivilegeEscalation"] is False
        assert secure["readOnlyRootFilesystem"] is True
        ports = {port["name"] for port in container.get("ports", [])}
        for kind in ("liveness", "readiness"):
            probe = container.get(f"{kind}Probe", {})
            if "httpGet" in probe:
                assert probe["httpGet"]["port"] in ports


def test_kubernetes_takes_the_manifests() -> None:
    """Each field is in Kubernetes' own schemas of this version, with the type that it has there."""
    checked = set()
    for path in MANIFESTS:
        for document in documents(path):
            if document["apiVersion"] != "keda.sh/v1alpha1":
                kubernetes_validate.validate(document, KUBERNETES, strict=True)
                checked.add(document["kind"])
    assert checked == {"Deployment", "PodDisruptionBudget", "Service"}
    document["spec"]["replica"] = 2  # a misspelt field
    document.update(apiVersion="apps/v1", kind="Deployment")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_the_scaler_targets_an_existing_deployment() -> None:
    names = {
        each["metadata"]["name"]
        for path in MANIFESTS
        for each in documents(path)
        if each["kind"] == "Deployment"
    }
    # KEDA refuses a second scaler of the same deployment, so each broker has a file of its own.
    for broker in ("redis", "rabbitmq"):
        (scaled,) = documents(DEPLOY / f"kubernetes/keda-{broker}.yaml")
        assert scaled["spec"]["scaleTargetRef"]["name"] in names
        (trigger,) = scaled["spec"]["triggers"]
        assert trigger["type"] == broker
        assert all(isinstance(value, str) for value in trigger["metadata"].values())


def test_the_image_runs_as_nobody_special() -> None:
    text = (DEPLOY / "docker/Dockerfile").read_text()
    assert text.count("\nFROM ") == 2
    last = text[text.rindex("\nFROM ") :]
    assert "\nUSER 10001\n" in last
    assert "HEALTHCHECK" in last
