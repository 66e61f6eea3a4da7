"""The agent's own key: who this installation is, and its word on what it hands over. No I/O of its own.

Receipts and proofs are compact JWS (RFC 7515) with an Ed25519 key (RFC 8037), `kid` the key's thumbprint
(RFC 7638). Their `typ` differs (RFC 8725 §3.11), so that neither ever passes as the other.

The algorithm is named `EdDSA`, as RFC 8037 does and as verifiers of today know it; RFC 9864 renames it
`Ed25519` and deprecates that name, which is why our registry below knows this one algorithm and no other.
"""

import hashlib
import json
from base64 import urlsafe_b64encode
from collections.abc import Collection, Iterable
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from joserfc.jws import JWSRegistry

RECEIPT_TYPE = "insi-receipt+jws"
PROOF_TYPE = "insi-proof+jws"
_ALGORITHM = "EdDSA"
_MAX_PAYLOAD_BYTES = 4 << 20


class Identity:
    """An Ed25519 key that signs for this installation. `repr` shows its thumbprint only."""

    def __init__(self, key: "Ed25519PrivateKey") -> None:
        self._key = key
        self._public = key.public_key()
        x = urlsafe_b64encode(self._public.public_bytes_raw()).rstrip(b"=").decode()
        self._jwk = {"crv": "Ed25519", "kty": "OKP", "x": x}
        # RFC 7638 §3: the members in this order, no blanks. By hand, so that a start does not wait for joserfc.
        digest = hashlib.sha256(json.dumps(self._jwk, separators=(",", ":")).encode()).digest()
        self.thumbprint = urlsafe_b64encode(digest).rstrip(b"=").decode()

    @classmethod
    def create(cls) -> Self:
        """A new key."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_private_bytes(cls, seed: bytes) -> Self:
        """The key of these 32 bytes. Raises ValueError for any other length."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    def private_bytes(self) -> bytes:
        """The 32 bytes to keep as a secret."""
        return self._key.private_bytes_raw()

    def public_jwk(self) -> dict[str, str]:
        """The public key for hello's `receiptKey` and for a server that enrols this installation."""
        return {**self._jwk, "kid": self.thumbprint, "alg": _ALGORITHM}

    def sign_bytes(self, data: bytes) -> bytes:
        return self._key.sign(data)

    def verify_bytes(self, data: bytes, signature: bytes) -> bool:
        from cryptography.exceptions import InvalidSignature

        try:
            self._public.verify(signature, data)
        except InvalidSignature:
            return False
        return True

    def receipt(self, payload: dict[str, Any]) -> str:
        """The payload, signed as a receipt."""
        return self._jws(RECEIPT_TYPE, payload)

    def proof(self, *, challenge: str, origin: str, instance_id: str, environment: str, at: datetime) -> str:
        """That this installation answered this challenge to this origin, now."""
        claims = {"challenge": challenge, "origin": origin, "instanceId": instance_id, "environment": environment}
        return self._jws(PROOF_TYPE, {**claims, "iat": int(at.timestamp())})

    def __repr__(self) -> str:
        return f"Identity({self.thumbprint})"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("an Identity is never serialised")

    def _jws(self, kind: str, payload: dict[str, Any]) -> str:
        from joserfc import jws
        from joserfc.jwk import OKPKey

        header = {"alg": _ALGORITHM, "kid": self.thumbprint, "typ": kind}
        text = json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
        return jws.serialize_compact(header, text, OKPKey.import_key(self._key), registry=_registry())


def verify_receipt(
    receipt: str,
    *,
    accepted_thumbprints: Collection[str],
    public_jwks: Iterable[dict[str, Any]],
    challenge: str,
    origin: str,
    environment: str,
) -> dict[str, Any]:
    """The payload of a receipt, checked as an application's server must.

    `accepted_thumbprints` are the installations it enrolled, `public_jwks` their keys: never a key that came
    with the receipt. Raises ValueError saying what does not fit, without quoting the payload.
    """
    from joserfc import jws
    from joserfc.errors import JoseError
    from joserfc.jwk import OKPKey

    keys = [OKPKey.import_key({name: jwk[name] for name in ("kty", "crv", "x")}) for jwk in public_jwks]
    by_thumbprint = {key.thumbprint(): key for key in keys}
    try:
        signed = jws.extract_compact(receipt.encode(), registry=_registry())
        kid = str(signed.headers().get("kid"))
        known = kid in accepted_thumbprints and kid in by_thumbprint
        holds = known and jws.validate_compact(signed, by_thumbprint[kid], registry=_registry())
        payload = json.loads(signed.payload)
    except (JoseError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a receipt: {type(error).__name__}") from None
    _require(known, "not an installation that we accept")
    _require(holds, "the signature does not hold")
    _require(signed.headers().get("typ") == RECEIPT_TYPE, "not a receipt")
    trace = payload.get("trace") if isinstance(payload, dict) else None
    if not isinstance(trace, dict):
        raise ValueError("not a receipt")  # noqa: TRY004  (what is refused is a value, whoever sent it)
    _require(payload.get("challenge") == challenge, "another challenge")
    _require(trace.get("origin") == origin, "another origin")
    _require(trace.get("environment") == environment, "another environment")
    return dict(payload)


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


@cache
def _registry() -> "JWSRegistry":
    """The rules of our JWS: EdDSA alone, and room for a large result."""
    from joserfc.errors import UnsupportedAlgorithmError
    from joserfc.jws import JWSRegistry

    class OnlyEdDSA(JWSRegistry):
        max_payload_length = _MAX_PAYLOAD_BYTES

        def get_alg(self, name: str) -> Any:
            if name != _ALGORITHM:
                raise UnsupportedAlgorithmError("only EdDSA")
            return self.algorithms[name]

    return OnlyEdDSA()
