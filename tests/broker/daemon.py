"""The Docker daemon: whether it answers, and whether it can have an image."""

import importlib.util


def connect():
    """A client of the Docker daemon that answers, or None; testcontainers, which finds it, must be installed."""
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


def tags(docker) -> set[str]:
    """The images that the daemon has."""
    return {tag for image in docker.images.list() for tag in image.tags}


def can_have(docker, image: str) -> bool:
    """Whether the daemon has the image or, with its own mirrors and proxies, reaches its registry."""
    from docker.errors import APIError
    from requests.exceptions import RequestException

    if image in tags(docker):
        return True
    try:
        docker.images.get_registry_data(image)
    except (APIError, RequestException):
        return False
    return True
