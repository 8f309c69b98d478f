"""What this machine has to run a broker with. Asks the daemon and the path; starts, pulls and installs nothing."""

import importlib.util
import os
import re
import shutil
import subprocess

from tests.broker import jars
from tests.broker.choice import JAVA_MIN, Machine
from tests.broker.image import build

OFFICIAL = "apache/kafka:4.3.1"


def look() -> Machine:
    """The facts that `choose` goes by; where a broker is given nothing else is asked."""
    if bootstrap := os.environ.get("ADL_TEST_BOOTSTRAP"):
        return Machine(bootstrap=bootstrap)
    java, have_jars = java_version(), jars.available()
    docker = docker_client()
    if docker is None:
        return Machine(java=java, jars=have_jars)
    # What lies there already spares the question to the registry, which may take its time to fail.
    here = {tag for image in docker.images.list() for tag in image.tags}
    built = build.available(here)
    official = OFFICIAL in here or (not built and can_be_pulled(docker, OFFICIAL))
    docker.close()
    built = built or (build.possible() and java >= JAVA_MIN and have_jars)
    return Machine(docker=True, image_official=official, image_built=built, java=java, jars=have_jars)


def docker_client():
    """A client of the Docker daemon that answers, or None."""
    if importlib.util.find_spec("testcontainers") is None:
        return None
    from docker.errors import DockerException
    from testcontainers.core.docker_client import DockerClient

    try:
        client = DockerClient(timeout=60).client
        client.ping()
    except DockerException:
        return None
    return client


def can_be_pulled(docker, image: str) -> bool:
    """Whether the daemon, with its own mirrors and proxies, reaches the image's registry."""
    from docker.errors import APIError
    from requests.exceptions import RequestException

    try:
        docker.images.get_registry_data(image)
    except (APIError, RequestException):
        return False
    return True


def java_version() -> int:
    """Major version of the `java` on the path, 0 without one."""
    if shutil.which("java") is None:
        return 0
    said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', said)
    return int(found.group(1)) if found else 0
