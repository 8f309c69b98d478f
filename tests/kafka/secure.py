"""A broker of its own with three more doors that all demand TLS and something else: a password (SASL, SCRAM), a
certificate of the client's (mTLS), or an identity provider's token (SASL, OAUTHBEARER).
"""

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
from tests.kafka.issuer import AUDIENCE, openssl

STORE_PASSWORD = "changeit"  # noqa: S105  of a key that lives as long as the test
LOGIN = "org.apache.kafka.common.security"
PROTOCOLS = {"scram": "SASL_SSL", "mutual": "SSL", "token": "SASL_SSL"}
DEMANDS = {
    "scram": {
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "scram-sha-512.sasl.jaas.config": f"{LOGIN}.scram.ScramLoginModule required;",
    },
    "mutual": {"ssl.client.auth": "required", "ssl.truststore.type": "PEM"},
    "token": {
        "sasl.enabled.mechanisms": "OAUTHBEARER",
        "oauthbearer.sasl.jaas.config": f"{LOGIN}.oauthbearer.OAuthBearerLoginModule required;",
        "oauthbearer.sasl.server.callback.handler.class": f"{LOGIN}.oauthbearer.OAuthBearerValidatorCallbackHandler",
        # A connection ends with the token it was opened with, unless the client shows a newer one before.
        "oauthbearer.connections.max.reauth.ms": "3600000",
    },
}


class SecureBroker(ProcessBroker):
    """`bootstrap` is open, for the test itself; `doors` are what a worker is given, `ca` whom it must trust."""

    def __init__(self, folder: Path, issuer: str, trusted: Path) -> None:
        """`issuer`: where the keys of tokens are, which must answer at the start; `trusted`: a client's certificate."""
        if java_version() < JAVA_MIN or not jars.available():
            pytest.skip("a broker with TLS needs Java and Maven")
        super().__init__("a Java process with TLS and SASL")
        self.ca = folder / "ca.pem"
        store = make_key(folder, self.ca)
        lines = dict(line.split("=", 1) for line in self._properties.read_text().splitlines())
        self.doors: dict[str, str] = {}
        for name, protocol in PROTOCOLS.items():
            self.doors[name] = f"127.0.0.1:{free_port()}"
            for listeners in ("listeners", "advertised.listeners"):
                lines[listeners] += f",{name.upper()}://{self.doors[name]}"
            lines["listener.security.protocol.map"] += f",{name.upper()}:{protocol}"
            demanded = DEMANDS[name] | {
                "ssl.keystore.location": str(store),
                "ssl.keystore.type": "PKCS12",
                "ssl.keystore.password": STORE_PASSWORD,
            }
            lines |= {f"listener.name.{name}.{key}": value for key, value in demanded.items()}
        lines |= {
            "listener.name.mutual.ssl.truststore.location": str(trusted),
            "sasl.oauthbearer.jwks.endpoint.url": f"{issuer}/keys",
            "sasl.oauthbearer.expected.issuer": issuer,
            "sasl.oauthbearer.expected.audience": AUDIENCE,
            "sasl.oauthbearer.clock.skew.seconds": "1",
        }
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
        self._java.insert(1, f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={issuer}/keys")

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


def make_client_key(folder: Path, name: str, password: str) -> tuple[Path, Path]:
    """A client's key, locked by a password, and its certificate, which vouches for itself."""
    key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
    openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", str(key),
        "-out", str(certificate), "-days", "2", "-subj", f"/CN={name}", "-passout", f"pass:{password}",
    )  # fmt: skip
    return key, certificate
