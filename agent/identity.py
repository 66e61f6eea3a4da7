"""The agent's own key: who this installation is, and its word on what it hands over. No I/O of its own.

Receipts, proofs and rotations are compact JWS (RFC 7515) with an Ed25519 key (RFC 8037), `kid` the key's
thumbprint (RFC 7638). Their `typ` differs (RFC 8725 §3.11), so that none ever passes as another.

A rotation is the old key's statement that the new one follows it. It carries the new key's own word, as an ACME
key change does (RFC 8555 §7.3.5): nobody gives himself this installation's key as his successor, nor slips a
key of his own into its past.

The algorithm is named `EdDSA`, as RFC 8037 does and as verifiers of today know it; RFC 9864 renames it
`Ed25519` and deprecates that name, which is why our registry below knows this one algorithm and no other.
"""

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    from joserfc.jwk import OKPKey
    from joserfc.jws import JWSRegistry

RECEIPT_TYPE = "insi-receipt+jws"
PROOF_TYPE = "insi-proof+jws"
ROTATION_TYPE = "insi-rotation+jws"
CONFIRMATION_TYPE = "insi-rotation-confirmation+jws"  # the new key's word, inside a rotation
_ALGORITHM = "EdDSA"
_MAX_PAYLOAD_BYTES = 4 << 20
_LATEST = 1 << 36  # seconds; a datetime still holds it


@dataclass(frozen=True)
class Former:
    """A key that signed for this installation once."""

    public_jwk: dict[str, str]
    until: datetime  # from then on it signs no more
    statement: str  # its own: the rotation that ended it

    def verify_bytes(self, data: bytes, signature: bytes) -> bool:
        return _holds(self._public, data, signature)

    @cached_property
    def _public(self) -> "Ed25519PublicKey":
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        return Ed25519PublicKey.from_public_bytes(_decoded(self.public_jwk["x"]))


class Identity:
    """An Ed25519 key that signs for this installation. `repr` shows its thumbprint only."""

    def __init__(self, key: "Ed25519PrivateKey", former: tuple[Former, ...] = ()) -> None:
        """`former`: the keys before this one, oldest first, as `_former_keys` finds them."""
        self._key, self.former = key, former
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
    def from_private_bytes(cls, seed: bytes, statements: Sequence[str] = ()) -> Self:
        """The key of these 32 bytes, to which these rotations led. Raises ValueError for any that do not."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        key = Ed25519PrivateKey.from_private_bytes(seed)
        return cls(key, _former_keys(statements, cls(key).public_jwk()))

    def private_bytes(self) -> bytes:
        """The 32 bytes to keep as a secret."""
        return self._key.private_bytes_raw()

    def public_jwk(self) -> dict[str, str]:
        """The public key for hello's `receiptKey` and for a server that enrols this installation."""
        return {**self._jwk, "kid": self.thumbprint, "alg": _ALGORITHM}

    def sign_bytes(self, data: bytes) -> bytes:
        return self._key.sign(data)

    def verify_bytes(self, data: bytes, signature: bytes) -> bool:
        return _holds(self._public, data, signature)

    def verify_dated(self, data: bytes, signature: bytes, at: Callable[[bytes], datetime | None]) -> bool:
        """Whether this key signed, or a former one what it says itself (`at`, of `data`) to be older than its end.

        So nothing is added in a former key's name. What this cannot show: a date that is itself a lie, by whoever
        copied a former key before it was destroyed; a later entry of a later key must stand in his way.
        """
        moment = at(data) if self.former else None
        # The first that had not ended then comes first: a signature is what costs, and it mostly is its own.
        of_then = [key for key in self.former if moment and moment < key.until]
        return any(key.verify_bytes(data, signature) for key in of_then) or self.verify_bytes(data, signature)

    def receipt(self, payload: dict[str, Any]) -> str:
        """The payload, signed as a receipt."""
        return self._jws(RECEIPT_TYPE, payload)

    def proof(self, *, challenge: str, origin: str, instance_id: str, environment: str, at: datetime) -> str:
        """That this installation answered this challenge to this origin, now."""
        claims = {"challenge": challenge, "origin": origin, "instanceId": instance_id, "environment": environment}
        return self._jws(PROOF_TYPE, {**claims, "iat": int(at.timestamp())})

    def rotation(self, to: "Identity", *, instance_id: str, at: datetime) -> str:
        """That the key `to` follows this one in this installation, from `at` on."""
        tied = {"instanceId": instance_id, "iat": int(at.timestamp())}
        confirmation = to._jws(CONFIRMATION_TYPE, {"from": self.thumbprint, **tied})
        claims = {"from": self.public_jwk(), "to": to.public_jwk(), **tied, "confirmation": confirmation}
        return self._jws(ROTATION_TYPE, claims)

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
    not_later_than: datetime | None = None,
) -> dict[str, Any]:
    """The payload of a receipt, checked as an application's server must.

    `accepted_thumbprints` are the installations it enrolled, `public_jwks` their keys: never a key that came
    with the receipt. `not_later_than`: for a former key, the `iat` of the rotation that ended it.
    Raises ValueError saying what does not fit, without quoting the payload.
    """
    _, payload = _opened(receipt, RECEIPT_TYPE, "a receipt", accepted_thumbprints, public_jwks)
    trace = payload.get("trace")
    if not isinstance(trace, dict):
        raise ValueError("not a receipt")  # noqa: TRY004  (what is refused is a value, whoever sent it)
    _require_asked(payload, challenge=challenge)
    _require_asked(trace, origin=origin, environment=environment)
    if not_later_than is not None:
        at = payload.get("iat")
        _require(type(at) is int and at <= not_later_than.timestamp(), "another time: its key had ended")
    return payload


def verify_proof(
    proof: str,
    *,
    accepted_thumbprints: Collection[str],
    public_jwks: Iterable[dict[str, Any]],
    challenge: str,
    origin: str,
    instance_id: str,
    environment: str,
) -> dict[str, Any]:
    """The claims of a proof, checked as an application's server must.

    `accepted_thumbprints` and `public_jwks` as for a receipt, but without former keys: a proof is about now.
    `challenge` is one that the server made, and takes once. Raises ValueError saying what does not fit.
    """
    _, claims = _opened(proof, PROOF_TYPE, "a proof", accepted_thumbprints, public_jwks)
    _require_asked(claims, challenge=challenge, origin=origin, environment=environment)
    _require(claims.get("instanceId") == instance_id, "another installation")
    return claims


def verify_rotation(
    statement: str,
    *,
    accepted_thumbprints: Collection[str],
    public_jwks: Iterable[dict[str, Any]],
    instance_id: str,
) -> dict[str, Any]:
    """`from`, `to` (both JWK), `instanceId` and `iat` of a rotation, checked as an application's server must.

    `accepted_thumbprints` and `public_jwks` as for a receipt. The server then accepts `to` as well; of `from` it takes
    no proof, and only receipts whose `iat` is not later than the rotation's (`not_later_than`). Several rotations are
    checked one after the other. Raises ValueError saying what does not fit.
    """
    signer, claims = _opened(statement, ROTATION_TYPE, "a rotation", accepted_thumbprints, public_jwks)
    former, follower = (_public(claims.get(name)).thumbprint() for name in ("from", "to"))
    _require(signer == former, "not the former key's own statement")
    _require([claims[name].get("kid") for name in ("from", "to")] == [former, follower], "not the key it is called")
    confirmation = claims.pop("confirmation", None)
    _, confirmed = _opened(confirmation, CONFIRMATION_TYPE, "a confirmation", {follower}, [claims["to"]])
    _require(confirmed == {"from": former, **_tie(claims)}, "the new key confirmed something else")
    _require(claims["instanceId"] == instance_id, "another installation")
    return claims


def _former_keys(statements: Sequence[str], present: dict[str, str]) -> tuple[Former, ...]:
    """The keys before `present`, oldest first, if these rotations are the way to it. Raises ValueError.

    Backwards from the present key: each rotation names the key before, and both of its keys signed it.
    """
    former: list[Former] = []
    follower = present["kid"]
    for statement in reversed(statements):
        said = _unchecked(statement)
        key = _public(said.get("from")).thumbprint()
        claims = verify_rotation(
            statement,
            accepted_thumbprints={key},
            public_jwks=[said["from"]],
            instance_id=said.get("instanceId", ""),
        )
        _require(_public(claims["to"]).thumbprint() == follower, "a rotation to another key")
        until = datetime.fromtimestamp(claims["iat"] + 1, UTC)  # the second in which it ended is still its own
        former.insert(0, Former(claims["from"], until, statement))
        follower = key
    return tuple(former)


def _tie(claims: dict[str, Any]) -> dict[str, Any]:
    """What both keys of a rotation say. Raises ValueError."""
    instance_id, at = claims.get("instanceId"), claims.get("iat")
    _require(isinstance(instance_id, str) and type(at) is int and 0 <= at < _LATEST, "not a rotation")
    return {"instanceId": instance_id, "iat": at}


def _opened(
    text: Any,
    kind: str,
    what: str,
    accepted_thumbprints: Collection[str],
    public_jwks: Iterable[dict[str, Any]],
) -> tuple[str, dict[str, Any]]:
    """Whose it is, and the payload of a JWS of this kind by an accepted one of these keys. Raises ValueError."""
    from joserfc import jws
    from joserfc.errors import JoseError

    by_thumbprint = {key.thumbprint(): key for key in map(_public, public_jwks)}
    try:
        signed = jws.extract_compact(text.encode(), registry=_registry())
        kid = str(signed.headers().get("kid"))
        known = kid in accepted_thumbprints and kid in by_thumbprint
        holds = known and jws.validate_compact(signed, by_thumbprint[kid], registry=_registry())
        payload = json.loads(signed.payload)
    except (JoseError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not {what}: {type(error).__name__}") from None
    _require(known, "not an installation that we accept")
    _require(holds, "the signature does not hold")
    _require(signed.headers().get("typ") == kind and isinstance(payload, dict), f"not {what}")
    return kid, dict(payload)


def _unchecked(statement: str) -> dict[str, Any]:
    """The payload of a JWS, not to be believed yet. Raises ValueError."""
    try:
        payload = json.loads(_decoded(statement.split(".")[1]))
    except (ValueError, IndexError, RecursionError):
        payload = None
    if not isinstance(payload, dict):
        raise ValueError("not a rotation")  # noqa: TRY004  (what is refused is a value, whoever wrote it)
    return payload


def _public(jwk: Any) -> "OKPKey":
    """The Ed25519 key of a JWK. Raises ValueError."""
    from joserfc.errors import JoseError
    from joserfc.jwk import OKPKey

    try:
        return OKPKey.import_key({name: jwk[name] for name in ("kty", "crv", "x")})
    except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"not a key: {type(error).__name__}") from None


def _holds(key: "Ed25519PublicKey", data: bytes, signature: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, data)
    except InvalidSignature:
        return False
    return True


def _decoded(text: str) -> bytes:
    """Base64url without padding. Raises ValueError."""
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _require_asked(said: dict[str, Any], **asked: str) -> None:
    """Each as asked for; who asks for nothing never has it, so that a forgotten challenge is not one that is absent."""
    for name, value in asked.items():
        _require(bool(value) and said.get(name) == value, f"another {name}")


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
