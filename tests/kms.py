"""A key service on loopback that speaks as much of AWS KMS's protocol as Satchel uses. It is not AWS KMS.

What the real one does beyond (policies, states of keys, limits) is played in ``tests/store/test_kms.py``.
"""

from __future__ import annotations

import base64
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


class LoopbackKms:
    """Keys that come to be when they are first named. ``env`` is what makes boto3 find it; ``asked`` counts calls."""

    def __init__(self) -> None:
        self._secret = os.urandom(32)
        self.asked: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self.env = {
            "AWS_ENDPOINT_URL_KMS": f"http://127.0.0.1:{self._server.server_port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "eu-central-1",
        }

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, target: str, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.asked.append(target)
        bound = json.dumps([asked["KeyId"], asked["EncryptionContext"]], sort_keys=True).encode()
        cipher = AESGCM(self._secret)
        if target == "TrentService.Encrypt":
            nonce = os.urandom(12)
            wrapped = nonce + cipher.encrypt(nonce, base64.b64decode(asked["Plaintext"]), bound)
            return 200, {"KeyId": asked["KeyId"], "CiphertextBlob": base64.b64encode(wrapped).decode()}
        wrapped = base64.b64decode(asked["CiphertextBlob"])
        try:
            plain = cipher.decrypt(wrapped[:12], wrapped[12:], bound)
        except InvalidTag:
            return 400, {"__type": "InvalidCiphertextException"}
        return 200, {"KeyId": asked["KeyId"], "Plaintext": base64.b64encode(plain).decode()}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                status, answer = service.answer(self.headers["x-amz-target"], asked)
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-type", "application/x-amz-json-1.1")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
