"""A token endpoint on loopback, as an identity provider has it (OAuth 2, client credentials), and the keys it signs by.

Rule: what it gives out is kept, so that a test can look for it where it must not be.
"""

import base64
import json
import subprocess
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from tests.broker.broker import free_port

AUDIENCE = "kafka"


class Issuer:
    """Gives `client` a token that lives `lifetime_s` for `secret`, and everybody else a refusal that repeats theirs."""

    def __init__(self, folder: Path, client: str, secret: str, lifetime_s: int) -> None:
        self.tokens: list[str] = []
        self._client, self._secret, self._lifetime_s = client, secret, lifetime_s
        self._key = folder / "issuer.pem"
        openssl("genrsa", "-out", str(self._key), "2048")
        modulus = openssl("rsa", "-in", str(self._key), "-noout", "-modulus").decode().strip().partition("=")[2]
        number = _text(bytes.fromhex(modulus))
        self._keys = {
            "keys": [{"kty": "RSA", "kid": "1", "use": "sig", "alg": "RS256", "n": number, "e": "AQAB"}],
        }
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._server: ThreadingHTTPServer | None = None

    def open(self) -> None:
        """Answers from now on."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), _handler(self))
        self._server.daemon_threads = True
        Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Answers no more, until it is opened again."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def answer(self, path: str, authorization: str) -> tuple[int, dict[str, object]]:
        """Status and body: the keys at /keys, a token anywhere else."""
        if path == "/keys":
            return 200, self._keys
        if authorization != f"Basic {basic(self._client, self._secret)}":
            given = base64.b64decode(authorization.removeprefix("Basic ")).decode()
            return 401, {"error": "invalid_client", "error_description": f"nobody is let in with {given}"}
        self.tokens.append(self._token())
        return 200, {"access_token": self.tokens[-1], "token_type": "Bearer", "expires_in": self._lifetime_s}

    def _token(self) -> str:
        now = int(time.time())
        claims = {
            "iss": self.url, "aud": AUDIENCE, "sub": self._client, "scope": "adl", "iat": now,
            "exp": now + self._lifetime_s, "jti": str(len(self.tokens)),
        }  # fmt: skip
        head = {"alg": "RS256", "kid": "1", "typ": "JWT"}
        said = ".".join(_text(json.dumps(part).encode()) for part in (head, claims))
        return f"{said}.{_text(openssl('dgst', '-sha256', '-sign', str(self._key), given=said.encode()))}"


def basic(client: str, secret: str) -> str:
    """What a client says of itself in a header."""
    return base64.b64encode(f"{client}:{secret}".encode()).decode()


def openssl(*arguments: str, given: bytes = b"") -> bytes:
    """What `openssl ARGUMENTS` prints."""
    return subprocess.run(["openssl", *arguments], input=given, check=True, capture_output=True).stdout


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _handler(issuer: Issuer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, facts = issuer.answer(self.path, self.headers.get("Authorization", ""))
            body = json.dumps(facts, indent=1).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815  the base's name

        def log_message(self, *_: object) -> None:
            pass

    return Handler
