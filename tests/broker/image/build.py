"""Builds the image: Debian's minimal root, this machine's Java and the jars Maven resolved; needs root.

The tag carries a digest of this folder, so a changed recipe is another image; a built one is kept in the cache.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.broker import VERSION, cache, jars

HERE = Path(__file__).parent
RECIPE = ("Dockerfile", "log4j2.yaml", "pom.xml", "run", "server.properties")
LEFT_OUT = ("dev/*", "proc/*", "sys/*", "usr/share/doc", "usr/share/locale", "var/cache", "var/lib/apt/lists")
JAVA_PARTS = ("bin", "conf", "lib", "legal", "release")  # not its compiler's modules, headers and manuals


def tag() -> str:
    """Name and tag of the image that this folder's recipe makes."""
    recipe = hashlib.sha256(b"\0".join((HERE / name).read_bytes() for name in (*RECIPE, Path(__file__).name)))
    return f"adl-worker/kafka:{VERSION}-{recipe.hexdigest()[:12]}"


def available(images: set[str]) -> bool:
    """Whether the image is among those the daemon has, or in the cache."""
    return tag() in images or _saved().exists()


def possible() -> bool:
    """Whether this machine has what building needs beside Java and the jars."""
    return os.geteuid() == 0 and all(shutil.which(tool) for tool in ("debootstrap", "apt-get", "tar"))


def ensure() -> str:
    """The tag of the image, which the daemon has on return: it had it, it is loaded from the cache, or built (40 s)."""
    from testcontainers.core.docker_client import DockerClient

    docker = DockerClient(timeout=600).client
    if not docker.images.list(tag()):
        if _saved().exists():
            with _saved().open("rb") as saved:
                docker.images.load(saved)
        else:
            _build(docker)
    docker.close()
    return tag()


def _saved() -> Path:
    return cache.folder() / f"image-{tag().rpartition('-')[2]}.tar"


def _build(docker) -> None:
    with tempfile.TemporaryDirectory(prefix="image.", dir=cache.folder()) as work:
        context = Path(work) / "context"
        context.mkdir()
        _debian(Path(work) / "root", context / "root.tar")
        _java(context / "java")
        shutil.copytree(jars.folder(), context / "libs")
        for name in RECIPE:
            shutil.copy(HERE / name, context)
        image, _ = docker.images.build(path=str(context), tag=tag(), rm=True, forcerm=True)
    for old in cache.folder().glob("image-*.tar"):
        old.unlink()
    with cache.arriving(_saved().name) as new, new.open("wb") as saved:
        for part in image.save(named=tag()):
            saved.write(part)


def _debian(root: Path, packed: Path) -> None:
    """Packs a minimal Debian of this machine's release, from the mirror that apt is set up with."""
    release = _said("sh", "-c", ". /etc/os-release; echo $VERSION_CODENAME")
    mirror = _said("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", f"Codename: {release}")
    subprocess.run(
        ["debootstrap", "--variant=minbase", release, root, mirror.split()[0]], check=True, stdout=subprocess.DEVNULL
    )
    subprocess.run(["tar", "-C", root, *(f"--exclude=./{path}" for path in LEFT_OUT), "-cf", packed, "."], check=True)


def _java(target: Path) -> None:
    """Copies the Java on the path; its links lead out of its folder (certificates, settings), so they are followed."""
    home = Path(shutil.which("java")).resolve().parent.parent
    target.mkdir()
    for part in JAVA_PARTS:
        if (home / part).is_dir():
            skip = shutil.ignore_patterns("src.zip", "ct.sym")
            shutil.copytree(home / part, target / part, ignore=skip, ignore_dangling_symlinks=True)
        elif (home / part).exists():
            shutil.copy(home / part, target)


def _said(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
