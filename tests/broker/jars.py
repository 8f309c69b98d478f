"""Kafka's jars: an unpacked Kafka that is named, or what Maven resolves, kept in the cache."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.broker import cache

POM = Path(__file__).with_name("image") / "pom.xml"
NAME = "libs"


def available() -> bool:
    """Whether `folder` will find jars or a Maven to ask."""
    return bool(os.environ.get("ADL_KAFKA_HOME")) or (cache.folder() / NAME).is_dir() or shutil.which("mvn") is not None


def folder() -> Path:
    """A folder with the jars of Kafka and all it needs."""
    if home := os.environ.get("ADL_KAFKA_HOME"):
        libs = Path(home) / "libs"
        if not libs.is_dir():
            raise FileNotFoundError(f"ADL_KAFKA_HOME must be an unpacked Kafka, has no folder libs: {home}")
        return libs
    libs = cache.folder() / NAME
    if not libs.is_dir():
        with cache.arriving(NAME) as new:
            goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={new}"]
            subprocess.run(["mvn", "-q", "-B", "-f", POM, *goal], check=True)
    return libs
