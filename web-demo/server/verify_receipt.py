"""Check receipts of INSi Agent on an application's server, and the rotations of the keys that sign them. No I/O.

Copy this file; it needs `cryptography` alone. MIT licence. What a receipt proves, how IT enrols workstations and each
word of REASONS: docs/receipts.md of INSi Agent. verify_receipt.mjs says the same in JavaScript.

`accepted`: what IT enrolled, a list of what `insi-agent identity show` printed on each workstation, read from JSON.
Never a key that came with a page, with hello or with a receipt. Sources: RFC 7515, RFC 7638, RFC 8037, RFC 8725.
"""

import hashlib
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

REASONS = """malformed critical algorithm type unknown enrolment signature challenge origin environment
    installation ended early old confirmation""".split()  # noqa: SIM905  (read as they are listed)
_COMPACT = re.compile(r"([A-Za-z0-9_-]{1,1024})\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{85}[AQgw])")
_KEY = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")


class ReceiptError(ValueError):
    """A refusal. `reason`: one of REASONS. What was refused is not quoted."""

    def __init__(self, reason):
        super().__init__(reason)
        self.reason = reason


def verify_receipt(receipt, *, accepted, challenge, origin, environment, now_s=None, max_age_s=900, skew_s=300):
    """What the workstation signed, as a dict. `challenge`: the server's own, given out for this very request.

    With `now_s` (seconds since 1970) what says to be older than `max_age_s` is refused. Raises ReceiptError.
    """
    if not isinstance(accepted, list) or not all(type(own) is str and own for own in (challenge, origin, environment)):
        raise TypeError("accepted is a list; challenge, origin and environment are the server's own strings")
    key, payload = _opened(receipt, "insi-receipt+jws", accepted)
    trace, at = payload.get("trace"), payload.get("iat")
    _require(isinstance(trace, dict) and _is_count(trace.get("seq")) and _is_count(at), "malformed")
    _require(payload.get("challenge") == challenge, "challenge")
    _require(trace.get("origin") == origin, "origin")
    _require(trace.get("environment") == environment, "environment")
    _require(environment == "simulated" or not key["simulated"], "environment")  # a simulator's key is no secret
    _require(payload.get("instanceId") == key["instanceId"], "installation")
    _require(key.get("notLaterThan") is None or at <= key["notLaterThan"], "ended")
    _require(now_s is None or at <= now_s + skew_s, "early")
    _require(now_s is None or at >= now_s - max_age_s, "old")
    return payload


def accept_rotation(accepted, statement):
    """`accepted` with the key that follows one of its keys, which itself counts up to `notLaterThan`, an iat.

    `statement`: of `former` in what `identity show` prints, brought by IT, never by a page. Raises ReceiptError.
    """
    former, claims = _opened(statement, "insi-rotation+jws", accepted)
    instance, at, kid = claims.get("instanceId"), claims.get("iat"), _thumbprint(claims.get("to"))
    _require(_thumbprint(claims.get("from")) == former["thumbprint"] and kid and _is_count(at), "malformed")
    _require(instance == former["instanceId"], "installation")
    follower = {"instanceId": instance, "simulated": former["simulated"], "thumbprint": kid, "publicKey": claims["to"]}
    _, agreed = _opened(claims.get("confirmation"), "insi-rotation-confirmation+jws", [follower])
    _require(agreed == {"from": former["thumbprint"], "instanceId": instance, "iat": at}, "confirmation")
    if former.get("notLaterThan") is not None:  # followed before. Not added again: IT may have removed it since
        _require(former["notLaterThan"] == at, "ended")
        return accepted
    kept = former["thumbprint"]
    ended = [{**one, "notLaterThan": at} if one.get("thumbprint") == kept else one for one in accepted]
    return ended if any(one.get("thumbprint") == kid for one in ended) else [*ended, follower]


def _opened(text, kind, accepted):
    """The enrolled key that signed this statement of this kind, and what it says."""
    found = _COMPACT.fullmatch(text) if isinstance(text, str) else None
    _require(found, "malformed")
    header = _object(found[1])
    kid = header.get("kid")
    _require("crit" not in header, "critical")
    _require(header.get("alg") == "EdDSA", "algorithm")
    _require(header.get("typ") == kind, "type")
    same = [one for one in accepted if isinstance(kid, str) and one.get("thumbprint") == kid]
    _require(same, "unknown")
    key = same[0]
    for one in same:  # a line that was collected twice counts once
        whole = isinstance(one.get("instanceId"), str) and isinstance(one.get("simulated"), bool)
        whole = whole and (one.get("notLaterThan") is None or _is_count(one["notLaterThan"]))
        _require(whole and _thumbprint(one.get("publicKey")) == kid != "", "enrolment")
        _require(all(one.get(it) == key.get(it) for it in ("instanceId", "simulated", "notLaterThan")), "enrolment")
    try:
        public = Ed25519PublicKey.from_public_bytes(urlsafe_b64decode(key["publicKey"]["x"] + "="))
        public.verify(urlsafe_b64decode(found[3] + "=="), f"{found[1]}.{found[2]}".encode())
    except InvalidSignature:
        raise ReceiptError("signature") from None
    return key, _object(found[2])


def _thumbprint(jwk):
    """RFC 7638 thumbprint of an Ed25519 key that is called by it; else an empty one."""
    if not isinstance(jwk, dict) or not isinstance(jwk.get("x"), str) or not _KEY.fullmatch(jwk["x"]):
        return ""
    members = json.dumps({"crv": "Ed25519", "kty": "OKP", "x": jwk["x"]}, separators=(",", ":"))
    thumbprint = urlsafe_b64encode(hashlib.sha256(members.encode()).digest()).rstrip(b"=").decode()
    return thumbprint if (jwk.get("crv"), jwk.get("kty"), jwk.get("kid")) == ("Ed25519", "OKP", thumbprint) else ""


def _object(text):
    """The JSON object in base64url that was written in the one right way."""
    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        value = json.loads(data.decode(), parse_constant=int)  # NaN and its like are no JSON
    except (ValueError, RecursionError):
        raise ReceiptError("malformed") from None
    _require(isinstance(value, dict) and urlsafe_b64encode(data).rstrip(b"=").decode() == text, "malformed")
    return value


def _is_count(value):
    return type(value) in (int, float) and 0 <= value < 2**53 and value == int(value)


def _require(holds, otherwise):
    if not holds:
        raise ReceiptError(otherwise)
