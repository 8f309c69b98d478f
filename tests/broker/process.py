"""Apache Kafka as a Java process on loopback, for machines without Docker."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.broker import jars, settings
from tests.broker.broker import Broker, BrokerError, free_port

LOG4J = Path(__file__).with_name("image") / "log4j2.yaml"
STOP_S_MAX = 20


class ProcessBroker(Broker):
    """A broker whose data lies in a temporary folder until `close`."""

    ours = True

    def __init__(self, kind: str, port: int | None = None) -> None:
        super().__init__(f"127.0.0.1:{port or free_port()}", kind)
        self._folder = Path(tempfile.mkdtemp(prefix="adl-kafka-"))
        self._process: subprocess.Popen[bytes] | None = None
        inner, controller = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        lines = settings.properties(self.bootstrap, inner, controller, str(self._folder / "data"))
        lines["advertised.listeners"] = settings.advertised(self.bootstrap, inner)
        self._properties = self._folder / "server.properties"
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
        self._java = [
            "java", *settings.JVM, f"-Dlog4j2.configurationFile={LOG4J}", "-cp", f"{jars.folder()}/*",
        ]  # fmt: skip

    def start(self) -> None:
        if not (self._folder / "data").exists():
            tool = ["kafka.tools.StorageTool", "format", "-t", settings.CLUSTER, "-c", self._properties]
            said = subprocess.run([*self._java, *tool], capture_output=True, text=True, check=False)
            if said.returncode:
                raise BrokerError(f"the log folder was not formatted:\n{said.stdout}{said.stderr}")
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._java, "kafka.Kafka", self._properties], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.wait_until_ready(alive=lambda: self._process.poll() is None)

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def log(self) -> str:
        log = self._folder / "log"
        return log.read_text(errors="replace") if log.exists() else ""
