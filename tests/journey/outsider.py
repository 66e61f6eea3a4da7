"""A web application's server and page in one, written from PROTOCOL.md alone: nothing of the agent is imported.

`python outsider.py WS ORIGIN` holds the conversation and prints what it got as one JSON object. It ends with a
traceback where a signature does not verify.
"""

import hashlib
import itertools
import json
import os
import sys
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

COUNT = itertools.count(1)


def main(address: str, origin: str) -> dict[str, object]:
    challenges = [encoded(os.urandom(32)) for _ in range(3)]
    began = int(time.time())
    with opened(address, origin) as socket:
        client = {"name": "Un autre logiciel", "version": "7"}
        hello = call(socket, "agent.hello", apiLevels=[1], client=client, challenge=challenges[0])
        vitale = call(socket, "vitale.read")
        chosen = {"readId": vitale["readId"], "holder": vitale["holders"][0]["index"]}
        local = {"birthName": "INCONNU", "sex": "F"}
        by_card = call(
            socket,
            "insi.retrieveWithVitale",
            **chosen,
            authMode="cpx",
            challenge=challenges[1],
            clientRef="venue-1",
            local=local,
        )
        by_structure = call(
            socket, "insi.retrieveWithVitale", **chosen, authMode="organisation", challenge=challenges[2]
        )
    return {
        "challenges": challenges,
        "began": began,
        "hello": hello,
        "thumbprint": thumbprint(hello["receiptKey"]),
        "proof": verified(hello["proof"], hello["receiptKey"]),
        "vitale": vitale,
        "results": [by_card, by_structure],
        "receipts": [verified(result["receipt"], hello["receiptKey"]) for result in (by_card, by_structure)],
        "refused": refusal(address, "http://ailleurs.example"),  # no https: the person is not even asked
        "modules": sorted({name.partition(".")[0] for name in sys.modules}),
    }


def opened(address: str, origin: str):
    return connect(address, origin=origin, subprotocols=["insi-agent.v1"], compression=None, proxy=None)


def call(socket, method: str, **params) -> dict:
    """The result; notifications in between are not for us."""
    number = next(COUNT)
    socket.send(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}))
    while (message := json.loads(socket.recv(timeout=60))).get("id") != number:
        pass
    assert "error" not in message, message
    return message["result"]


def refusal(address: str, origin: str) -> int:
    """The HTTP status for a page of this origin."""
    try:
        with opened(address, origin):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


def verified(compact: str, jwk: dict) -> list[dict]:
    """Header and payload of a compact JWS (RFC 7515, RFC 8037). Raises InvalidSignature."""
    signed, _, signature = compact.rpartition(".")
    Ed25519PublicKey.from_public_bytes(decoded(jwk["x"])).verify(decoded(signature), signed.encode())
    return [json.loads(decoded(part)) for part in signed.split(".")]


def thumbprint(jwk: dict) -> str:
    """RFC 7638: SHA-256 over the required members, sorted, without blanks."""
    required = {name: jwk[name] for name in ("crv", "kty", "x")}
    return encoded(hashlib.sha256(json.dumps(required, separators=(",", ":"), sort_keys=True).encode()).digest())


def encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
