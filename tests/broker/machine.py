"""What this machine has to run a broker with. Asks the daemon and the path; starts, pulls and installs nothing."""

import os
import re
import shutil
import subprocess

from tests.broker import VERSION, daemon, jars
from tests.broker.choice import JAVA_MIN, Machine
from tests.broker.image import build

OFFICIAL = f"apache/kafka:{VERSION}"


def look() -> Machine:
    """The facts that `choose` goes by; where a broker is given nothing else is asked."""
    if bootstrap := os.environ.get("ADL_TEST_BOOTSTRAP"):
        return Machine(bootstrap=bootstrap)
    java, have_jars = java_version(), jars.available()
    docker = daemon.connect()
    if docker is None:
        return Machine(java=java, jars=have_jars)
    # An image that was built here means that pulling failed once; asking the registry again may take a minute.
    here = daemon.tags(docker)
    built = build.available(here)
    official = OFFICIAL in here or (not built and daemon.can_have(docker, OFFICIAL))
    docker.close()
    built = built or (build.possible() and java >= JAVA_MIN and have_jars)
    return Machine(docker=True, image_official=official, image_built=built, java=java, jars=have_jars)


def java_version() -> int:
    """Major version of the `java` on the path, 0 without one."""
    if shutil.which("java") is None:
        return 0
    said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', said)
    return int(found.group(1)) if found else 0
