"""A broker of its own with a second listener that demands TLS and a password (SASL_SSL, SCRAM)."""

import os
import subprocess
from pathlib import Path

import pytest
from confluent_kafka.admin import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from tests.broker import jars
from tests.broker.broker import free_port
from tests.broker.choice import JAVA_MIN
from tests.broker.machine import java_version
from tests.broker.process import ProcessBroker

STORE_PASSWORD = "changeit"  # noqa: S105  of a key that lives as long as the test


class SecureBroker(ProcessBroker):
    """`bootstrap` is open, for the test itself; `secure` is what a worker is given, `ca` whom it must trust."""

    def __init__(self, folder: Path) -> None:
        if java_version() < JAVA_MIN or not jars.available():
            pytest.skip("a broker with TLS needs Java and Maven")
        super().__init__("a Java process with TLS and SASL")
        self.secure = f"127.0.0.1:{free_port()}"
        self.ca = folder / "ca.pem"
        store = make_key(folder, self.ca)
        lines = dict(line.split("=", 1) for line in self._properties.read_text().splitlines())
        for name in ("listeners", "advertised.listeners"):
            lines[name] += f",SECURE://{self.secure}"
        lines["listener.security.protocol.map"] += ",SECURE:SASL_SSL"
        lines |= {
            "listener.name.secure.sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.secure.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            "listener.name.secure.ssl.keystore.location": str(store),
            "listener.name.secure.ssl.keystore.type": "PKCS12",
            "listener.name.secure.ssl.keystore.password": STORE_PASSWORD,
        }
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))

    def add_user(self, name: str, password: str) -> None:
        """Lets somebody in."""
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        user = UserScramCredentialUpsertion(name, info, password.encode(), os.urandom(16))
        admin = self.admin()  # its answers go with it
        for future in admin.alter_user_scram_credentials([user]).values():
            future.result(20)


def make_key(folder: Path, certificate: Path) -> Path:
    """A key store with a certificate for 127.0.0.1 that vouches for itself."""
    store = folder / "key.p12"
    keytool = ["keytool", "-keystore", str(store), "-storetype", "PKCS12", "-storepass", STORE_PASSWORD]
    names = ["-dname", "CN=127.0.0.1", "-ext", "san=ip:127.0.0.1", "-ext", "bc=ca:true"]
    for command in (
        ["-genkeypair", "-alias", "broker", "-keyalg", "EC", "-validity", "2", *names],
        ["-exportcert", "-alias", "broker", "-rfc", "-file", str(certificate)],
    ):
        subprocess.run([*keytool, *command], check=True, capture_output=True)
    return store
