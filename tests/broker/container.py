"""Apache Kafka in a container, from the official image or one built here with the same layout."""

from testcontainers.core.config import ConnectionMode, testcontainers_config
from testcontainers.core.container import DockerContainer

from tests.broker import settings
from tests.broker.broker import Broker, free_port

PORT = 9092  # inside
INNER = "localhost:9093"
STOP_S_MAX = 20


class KafkaContainer(DockerContainer):
    """A container that waits for the script which tells it the address its clients see."""

    SCRIPT = "/tmp/adl-start"  # noqa: S108  inside the container

    def __init__(self, image: str, port: int) -> None:
        super().__init__(image)
        for name, value in settings.properties(f"0.0.0.0:{PORT}", INNER, "localhost:9094", "/tmp/adl-data").items():  # noqa: S108
            self.with_env("KAFKA_" + name.upper().replace(".", "_"), value)
        self.with_env("CLUSTER_ID", settings.CLUSTER)
        self.with_env("KAFKA_HEAP_OPTS", " ".join(settings.JVM[:2]))
        self.with_env("KAFKA_JVM_PERFORMANCE_OPTS", " ".join(settings.JVM[2:]))
        # A port of ours instead of any free one: Docker gives another one to a container that starts again. On
        # loopback where that is how it is reached; the address that leads out of a container is known too late.
        docker = self.get_docker_client()
        loopback = docker.get_connection_mode() is ConnectionMode.docker_host and docker.host() == "localhost"
        self.ports[f"{PORT}/tcp"] = ("127.0.0.1", port) if loopback else port
        self.with_command(["bash", "-c", f"until [ -f {self.SCRIPT} ]; do sleep 0.05; done; exec bash {self.SCRIPT}"])

    def start(self) -> "KafkaContainer":
        super().start()
        listeners = settings.advertised(self.bootstrap(), INNER)
        script = f"export KAFKA_ADVERTISED_LISTENERS={listeners}\nexec /etc/kafka/docker/run\n"
        self.copy_into_container(script.encode(), self.SCRIPT, 0o755)
        return self

    def bootstrap(self) -> str:
        """host:port as seen from here; never `localhost`, which may mean an address that nothing listens on."""
        return f"{self.get_container_host_ip().replace('localhost', '127.0.0.1')}:{self.get_exposed_port(PORT)}"


class ContainerBroker(Broker):
    """A broker whose data lies in its container until `close`."""

    ours = True

    def __init__(self, kind: str, image: str, port: int | None = None, *, reaper: bool) -> None:
        """reaper: whether testcontainers' helper, which removes what a killed run leaves, can be pulled."""
        if not reaper:
            testcontainers_config.ryuk_disabled = True
        super().__init__("", kind)
        self._container = KafkaContainer(image, port or free_port())
        self._running = False

    def start(self) -> None:
        if self.bootstrap:
            self._container.get_wrapped_container().start()
        else:
            self._container.start()
            self.bootstrap = self._container.bootstrap()
        self._running = True
        self.wait_until_ready(alive=self._alive)

    def stop(self) -> None:
        if self._running:
            self._container.get_wrapped_container().stop(timeout=STOP_S_MAX)
            self._running = False

    def close(self) -> None:
        self._container.stop()
        self._running = False

    def log(self) -> str:
        return b"".join(self._container.get_logs()).decode(errors="replace") if self.bootstrap else ""

    def _alive(self) -> bool:
        self._container.reload()
        return self._container.status == "running"
