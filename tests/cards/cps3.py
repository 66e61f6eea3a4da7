"""A virtual CPS3 (CPx, IAS-ECC, contact, T=0) that PKCS#11 modules recognise. Invented people only; the code is 1234.

Behaviour from public texts: OpenSC's drivers (card-iasecc.c, iasecc-sdo.c, pkcs15-iasecc.c, ef-atr.c, dir.c),
OpenSC issues 2223, 2224, 2262, 2264, 2267 and 2275 (traces and listings of a real CPS3), and the published
Cryptolib CPS (ansforge/dops-cryptolib: card-cps.c, card-cps3.c, pkcs15.c). [guess] where none of them says:
the bytes of EF.DIR, the ids 7002, 7006, A001 and A002, the PIN lengths.

Each variant is another invented person with another serial number, as on real cards: a module may keep card
files by serial. --each-time: the signature key wants the code before each signature (PKCS#15 userConsent).
--stale: the certificates are of former keys, as the Cryptolib's cache may show them.

--cps4-atr gives an ATR of the CPS4 and nothing else of it. A whole virtual CPS4 is blocked: card-cps4.c shows
its commands (class 01, SELECT 8025000001FF0100, 22 81 B6 {91 02}, 2A 9E 9A), but no public text or trace shows
its files and their directory, and OpenSC sends none of these commands: it has no CPS4 driver, up to its present
sources, and only takes the third CPS4 ATR for a CPx because it looks at half of its bytes (seen). Such a card
could be judged by the Cryptolib alone, which is not ours to ship.

--relaxed, unlike the card: the signature key may INTERNAL AUTHENTICATE and lists CKM_RSA_PKCS, because an OpenSC
built with OpenSSL 3 leaves out the hash that a real CPS3 finishes inside. What only the Cryptolib uses (that
hash, PSO, the CPS2ter volume) is not here.
"""

import argparse
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from agent.signing.fake_token import SimulatedCard, load_card
from agent.simulator.pki import Person, Practice, issue_card, make_ca
from tests.cards.vpcd import Pulled, serve

ATR = bytes.fromhex("3BAC00402A001225006480000310009000")
CPS4_ATR = bytes.fromhex("3B9B188001001225006480040100009044")
PIN = b"1234"
TRIES = 3
SIGNATURE, AUTHENTICATION = 1, 2  # key references 81 and 82

_AID_MF = bytes.fromhex("8025000001FF0100")
_AID = bytes.fromhex("E828BD080F8025000001FF0010")
_EF_ATR = bytes.fromhex(
    "804301B8460404B0ECC147039401804F088025000001FF0100E01002020104020201040202010002020100780806062B8122F8780282029000"
)
_OK = bytes.fromhex("9000")
_RSA, _SHA256 = "06092A864886F70D010101", "0609608648016503040201"
_SHA256_RSA = "06092A864886F70D01010B"


def _person(family: str | None, number: int, national_id: str, profession: int, speciality: str | None) -> Person:
    return Person(
        family=family and f"FICTIF-{family}",
        national_id=national_id,
        profession=profession,
        speciality=speciality,
        card_serial=f"26000000{number}",
        practices=_PRACTICES,
    )


_EXPIRED = datetime.now(UTC) - timedelta(days=30)
_PRACTICES = (Practice("CABINET FICTIF DU PORT", "499900000017001", "SA07"),)
_GAPS = (None, Practice("MAISON FICTIVE", "1990000017", "SA05"), None, None, Practice("ÉCOLE FICTIVE", "3", "SA07"))

# name → holder, card type, mark, end
VARIANTS: dict[str, tuple[Person, int, int, datetime | None]] = {
    "cps": (Person(), 0, 0x80, None),
    "cpf": (_person("STAGE", 21, "899900000021", 10, None), 1, 0x80, None),
    "cpe": (_person("ACCUEIL", 22, "3990000017/000000022", 0, None), 2, 0x80, None),
    "cpa": (_person("ADMIN", 23, "3990000017/000000023", 0, None), 3, 0x80, None),
    "non-nominative": (_person(None, 24, "3990000017/000000024", 0, None), 2, 0x80, None),
    "expired": (_person("AUTREFOIS", 25, "899900000025", 10, "SM26"), 0, 0x80, _EXPIRED),
    "production": (_person("REEL", 26, "899900000026", 10, "SM26"), 0, 0x00, None),
    "gaps": (replace(_person("PARTOUT", 27, "899900000027", 10, "SM54"), practices=_GAPS), 0, 0x80, None),
}


def tlv(tag: int, *values: bytes) -> bytes:
    """One BER object; the tag as it is written (0x30, 0x7F48)."""
    value = b"".join(values)
    size = len(value)
    length = (
        bytes([size]) if size < 0x80 else bytes([0x81, size]) if size < 0x100 else b"\x82" + size.to_bytes(2, "big")
    )
    return tag.to_bytes(2 if tag > 0xFF else 1, "big") + length + value


def objects(data: bytes) -> list[tuple[int, bytes]]:
    """The BER objects with one-byte tags and short lengths that are in a command."""
    found, at = [], 0
    while at + 2 <= len(data):
        found.append((data[at], data[at + 2 : at + 2 + data[at + 1]]))
        at += 2 + data[at + 1]
    return found


def _sequence(*values: bytes) -> bytes:
    return tlv(0x30, *values)


def _octets(value: bytes) -> bytes:
    return tlv(0x04, value)


def _text(value: str) -> bytes:
    return tlv(0x0C, value.encode())


def _integer(value: int) -> bytes:
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _bits(*on: int) -> bytes:
    """A named-bit BIT STRING; bit 0 is the first."""
    if not on:
        return tlv(0x03, b"\0")
    value = bytearray(max(on) // 8 + 1)
    for bit in on:
        value[bit // 8] |= 0x80 >> bit % 8
    return tlv(0x03, bytes([7 - max(on) % 8]), bytes(value))


def _path(fid: int) -> bytes:
    return _sequence(_octets(fid.to_bytes(2, "big")))


def _luhn(digits: str) -> str:
    total = sum(sum(divmod(int(d) * (2 - i % 2), 10)) for i, d in enumerate(reversed(digits)))
    return str(-total % 10)


def _pkcs15(
    label: str, *parts: bytes, flags: tuple[int, ...], auth: bool, rules: tuple[int, ...] = (), consent: int = 0
) -> bytes:
    """An entry of a PKCS#15 directory file: class and type attributes; `rules` are access modes that want the code."""
    of_class, of_type = parts
    access = _sequence(*[_sequence(_bits(mode), _octets(b"\x01")) for mode in rules]) if rules else b""
    each_time = _integer(consent) if consent else b""
    common = _sequence(_text(label), _bits(*flags), _octets(b"\x01") if auth else b"", each_time, access)
    return _sequence(common, _sequence(of_class), tlv(0xA1, of_type))


@dataclass
class File:
    """A folder (no data) or an elementary file."""

    fid: int
    data: bytes | None = None
    name: bytes = b""
    short_id: int = 0
    protected: bool = False
    children: "dict[int, File]" = field(default_factory=dict)

    def add(self, fid: int, data: bytes, **more: Any) -> None:
        self.children[fid] = File(fid, data, **more)

    def fcp(self) -> bytes:
        """What SELECT answers; OpenSC refuses a file without its access rules (A1 {8C})."""
        fid = tlv(0x83, self.fid.to_bytes(2, "big"))
        if self.data is None:
            rules = tlv(0xA1, tlv(0x8C, bytes.fromhex("7AFFFFFFFF45")))
            return tlv(0x62, tlv(0x82, b"\x38"), fid, tlv(0x84, self.name), rules, tlv(0x8A, b"\x05"))
        modes = bytes([0x7B, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x13 if self.protected else 0x00])
        size = tlv(0x80, len(self.data).to_bytes(2, "big"))
        short = tlv(0x88, bytes([self.short_id << 3]) if self.short_id else b"")
        rules = tlv(0xA1, tlv(0x8C, modes), tlv(0x9C, modes))
        return tlv(0x62, size, tlv(0x82, b"\x01"), fid, short, rules, tlv(0x8A, b"\x05"))


def files(card: SimulatedCard, *, relaxed: bool, each_time: bool) -> File:
    """The master file of a card with this content."""
    mf, df = File(0x3F00, name=_AID_MF), File(0x0001, name=_AID)
    mf.children[0x0001] = df
    mf.add(0x2F01, _EF_ATR, short_id=0x1D)
    mf.add(
        0x2F00,
        tlv(
            0x61, tlv(0x4F, _AID), tlv(0x50, b"CPS3"), tlv(0x51, bytes.fromhex("3F000001")), tlv(0x73, tlv(0x4F, _AID))
        ),
        short_id=0x1E,
    )
    number = f"8025000001{card.serial}"
    mf.add(0xD003, tlv(0x5A, bytes.fromhex(f"{number}{_luhn(number)}F")), short_id=0x1C)
    df.add(
        0x5031,
        b"".join(tlv(tag, _path(f)) for tag, f in ((0xA8, 0x7001), (0xA0, 0x7002), (0xA4, 0x7005), (0xA7, 0x7006))),
    )
    algorithms = [
        _sequence(_integer(ref), _integer(mechanism), tlv(0x05), _bits(use), bytes.fromhex(oid), _integer(card_ref))
        for ref, mechanism, use, oid, card_ref in (
            (2, 0x250, 6, _SHA256, 0x40), (4, 0x40, 1, _SHA256_RSA, 0x42), (5, 0x01, 1, _RSA, 0x02),
        )
    ]  # fmt: skip
    label = tlv(0x80, card.label.encode())
    df.add(0x5032, _sequence(_integer(0), _text("ASIP SANTE"), label, _bits(0, 1), tlv(0xA2, *algorithms)))
    pin = _sequence(_bits(0, 4), tlv(0x0A, b"\x01"), _integer(4), _integer(8), _integer(8), tlv(0x80, b"\x01"))
    df.add(0x7001, _pkcs15("Code porteur de la carte CPX", _octets(b"\x01"), pin, flags=(0, 1), auth=True))
    sign_refs = tlv(0xA1, _integer(5)) if relaxed else b""
    df.add(
        0x7002,
        _private_key("CPS_PRIV_SIG", SIGNATURE, sign_refs, flags=(0,), usage=(9,), rules=(5,), consent=int(each_time))
        + _private_key("CPS_PRIV_AUT", AUTHENTICATION, flags=(0, 1, 2), usage=(1, 2), rules=(7, 9)),
    )
    certificates = b""
    for reference, pair in enumerate(card.keys, 1):
        df.add(0xA000 + reference, pair.certificate_der)
        certificates += _pkcs15(
            pair.label, _octets(pair.cka_id), _sequence(_path(0xA000 + reference)), flags=(), auth=False
        )
    df.add(0x7005, certificates)
    directory, fid = b"", 0xD101
    for private, contents in ((False, card.free), (True, card.protected)):
        for name, content in contents.items():
            df.add(fid, content, protected=private)
            directory += _pkcs15(name, _text("CPS"), _path(fid), flags=(0,) if private else (), auth=private)
            fid += 1
    df.add(0x7006, directory)
    return mf


def _private_key(
    label: str,
    reference: int,
    refs: bytes = b"",
    *,
    flags: tuple[int, ...],
    usage: tuple[int, ...],
    rules: tuple[int, ...],
    consent: int = 0,
) -> bytes:
    """As a real CPS3 lists them: empty path, no algorithm references."""
    key_id = _octets(_AID + bytes([reference]))
    of_class = key_id + _bits(*usage) + tlv(0x01, b"\xff") + _bits(0, 2, 3) + _integer(0x80 | reference) + refs
    of_type = _sequence(_sequence(_octets(b"")), _integer(2048))
    return _pkcs15(label, of_class, of_type, flags=flags, auth=True, rules=rules, consent=consent)


class Cps3:
    """The card's manners. A verified code stays until reset, a try counter for ever."""

    def __init__(
        self,
        card: SimulatedCard,
        *,
        atr: bytes = ATR,
        relaxed: bool,
        each_time: bool = False,
        keys_of: SimulatedCard | None = None,
    ) -> None:
        """`keys_of`: the card whose keys are inside, if they are not those of the certificates."""
        self.atr = atr
        self._keys = {0x80 | reference: pair.key for reference, pair in enumerate((keys_of or card).keys, 1)}
        self._relaxed, self._each_time = relaxed, each_time
        self._mf = files(card, relaxed=relaxed, each_time=each_time)
        self.pin = PIN
        self.left = TRIES
        self.asked = 0  # VERIFY with a code
        self.signed = 0
        self.pull_at_signature = False
        self.pulled = 0  # so often
        self.signing = threading.Event()  # a signature was asked for
        self.may_sign = threading.Event()
        self.may_sign.set()
        self.reset()

    def reset(self) -> None:
        self._verified = False
        self._here: list[File] = [self._mf]
        self._file: File | None = None
        self._pending = b""
        self._environment: dict[int, int] = {}  # template -> key reference

    def state(self) -> dict[str, int | bool]:
        counts = {"left": self.left, "asked": self.asked, "signed": self.signed, "pulled": self.pulled}
        return {**counts, "verified": self._verified}

    def apdu(self, command: bytes) -> bytes:
        ins, p1, p2, body = command[1], command[2], command[3], command[4:]
        if len(body) <= 1:  # case 1 and 2
            data, wanted = b"", (body[0] or 256) if body else None
        else:  # case 3 and 4
            data, rest = body[1 : 1 + body[0]], body[1 + body[0] :]
            wanted = (rest[0] or 256) if rest else None
        known = {
            0x20: self._verify,
            0x22: self._set_environment,
            0x88: self._internal_authenticate,
            0xA4: self._select,
            0xB0: self._read,
            0xC0: self._get_response,
            0xCB: self._get_data,
        }
        return known[ins](p1, p2, data, wanted) if ins in known else bytes.fromhex("6D00")

    def _later(self, data: bytes, wanted: int | None) -> bytes:
        """T=0: after a command with data the answer waits for GET RESPONSE."""
        now = data[: wanted or 0]
        self._pending = data[len(now) :]
        return now + (
            bytes([0x61, len(self._pending) & 0xFF if len(self._pending) < 256 else 0]) if self._pending else _OK
        )

    def _get_response(self, _p1: int, _p2: int, _data: bytes, wanted: int | None) -> bytes:
        return self._later(self._pending, wanted) if self._pending else bytes.fromhex("6985")

    def _select(self, p1: int, p2: int, data: bytes, wanted: int | None) -> bytes:
        if p2 not in (0x04, 0x0C):
            return bytes.fromhex("6A86")  # P2=00 is refused by the real card
        if p1 == 4:
            places = ([self._mf], [self._mf, self._mf.children[0x0001]])
            found = next((place for place in places if data and place[-1].name.startswith(data)), None)
        else:
            ids = [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)] or [0x3F00]
            found = self._walk([self._mf] if p1 == 8 else self._here, ids)
        if found is None:
            return bytes.fromhex("6A82")
        target = found[-1]
        self._here, self._file = (found, None) if target.data is None else (found[:-1], target)
        return _OK if p2 == 0x0C else self._later(target.fcp(), wanted)

    def _walk(self, start: list[File], ids: list[int]) -> list[File] | None:
        """Down from `start`; a leading 3F00 restarts at the master file."""
        place = [self._mf] if ids[0] == 0x3F00 else list(start)
        for fid in ids[ids[0] == 0x3F00 :]:
            if fid not in place[-1].children:
                return None
            place.append(place[-1].children[fid])
        return place

    def _read(self, p1: int, p2: int, _data: bytes, wanted: int | None) -> bytes:
        if p1 & 0x80:  # by short id, here or in the master file
            near = [*self._here[-1].children.values(), *self._mf.children.values()]
            self._file = next((file for file in near if file.short_id == p1 & 0x1F), None)
        if self._file is None or self._file.data is None:
            return bytes.fromhex("6A82")
        if self._file.protected and not self._verified:
            return bytes.fromhex("6982")
        data = self._file.data[p2 if p1 & 0x80 else p1 << 8 | p2 :]
        if not data:
            return bytes.fromhex("6B00")
        if wanted is not None and len(data) < wanted < 256:
            return bytes([0x6C, len(data)])
        return data[:wanted] + _OK

    def _get_data(self, _p1: int, _p2: int, data: bytes, wanted: int | None) -> bytes:
        """A security data object: 4D { 70 { BF class reference { tag 80 } } }."""
        asked = dict(objects(dict(objects(data))[0x4D]))[0x70]
        kind, reference, tag = asked[1] & 0x7F, asked[2] & 0x3F, int.from_bytes(asked[4 : 3 + asked[3]], "big")
        # PIN objects answer in the master file only, key objects in DF 0001 only
        content = (
            self._security_object(kind, reference, tag) if (kind == 0x01) == (self._here[-1] is self._mf) else None
        )
        if content is None:
            return bytes.fromhex("6A88")
        return self._later(tlv(0x70, bytes([0xBF, asked[1], asked[2]]) + tlv(0, content)[1:]), wanted)

    def _security_object(self, kind: int, reference: int, tag: int) -> bytes | None:
        signature = reference == SIGNATURE
        modes = bytes(
            [
                0x7B,
                *((0x13, 0x13 if self._relaxed else 0xFF, 0xFF) if signature else (0xFF, 0x13, 0x13)),
                0xFF,
                0xFF,
                0x00,
            ]
        )
        return {
            (0x01, 1, 0x7F41): tlv(0x7F41, tlv(0x80, b"\x08"), tlv(0x81, b"\x04")),
            (0x01, 1, 0xA0): tlv(
                0xA0,
                tlv(0x9A, bytes([TRIES])),
                tlv(0x9B, bytes([self.left])),
                tlv(0xA1, tlv(0x8C, bytes.fromhex("F3000013FF00"))),
            ),
            (0x10, reference, 0x7F48): tlv(0x7F48, tlv(0x80, b"\x01")),
            (0x10, reference, 0xA0): tlv(
                0xA0, tlv(0xA1, tlv(0x8C, modes)), tlv(0x80, b"\x01\x00"), tlv(0x9E, bytes([signature]))
            ),
            (0x7B, 3, 0x7B): tlv(0x7B, tlv(0xA4, tlv(0x95, b"\x08"), tlv(0x83, b"\x01"))),
        }.get((kind, reference, tag))

    def _verify(self, _p1: int, p2: int, data: bytes, _wanted: int | None) -> bytes:
        if p2 != 1:
            return bytes.fromhex("6A88")
        if data:
            self.asked += 1
            if self.left:
                self._verified = data.rstrip(b"\xff\x00") == self.pin
                self.left = TRIES if self._verified else self.left - 1
        if not self.left:
            return bytes.fromhex("6983")
        return _OK if self._verified else bytes([0x63, 0xC0 | self.left])

    def _set_environment(self, _p1: int, p2: int, data: bytes, _wanted: int | None) -> bytes:
        reference = dict(objects(data)).get(0x84, b"\0")[-1]
        if p2 != 0xAA and reference not in self._keys:
            return bytes.fromhex("6A88")
        self._environment[p2] = reference
        return _OK

    def _internal_authenticate(self, _p1: int, _p2: int, data: bytes, wanted: int | None) -> bytes:
        reference = self._environment.get(0xA4)
        if reference != 0x82 and not (self._relaxed and reference == 0x81):
            return bytes.fromhex("6985")
        if not self._verified:
            return bytes.fromhex("6982")
        if not 0 < len(data) <= 102:  # 40 % of the modulus
            return bytes.fromhex("6700")
        self.signing.set()
        self.may_sign.wait()
        if self.pull_at_signature:
            self.pulled += 1
            raise Pulled
        self.signed += 1
        if self._each_time and reference == 0x81:
            self._verified = False
        return self._later(self._rsa(reference, data), wanted)

    def _rsa(self, reference: int, data: bytes) -> bytes:
        """PKCS#1 v1.5 block 1 around what the module sends, then the bare private operation."""
        numbers = self._keys[reference].private_numbers()
        block = b"\x00\x01" + b"\xff" * (253 - len(data)) + b"\x00" + data
        return pow(int.from_bytes(block, "big"), numbers.d, numbers.public_numbers.n).to_bytes(256, "big")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("port", type=int)
    arguments.add_argument("--card", type=Path, help="a card file of the simulator instead of a variant, new keys")
    arguments.add_argument("--variant", choices=VARIANTS, default="cps")
    for option in ("--relaxed", "--each-time", "--stale", "--cps4-atr"):
        arguments.add_argument(option, action="store_true")
    options = arguments.parse_args()
    content = load_card(options.card) if options.card else _issue(options.variant)
    assert content, "the card file cannot be read"
    card = Cps3(
        content,
        atr=CPS4_ATR if options.cps4_atr else ATR,
        relaxed=options.relaxed,
        each_time=options.each_time,
        keys_of=_issue(options.variant) if options.stale else None,
    )

    def change_pin(code: str) -> None:
        """As another program does, with the old code: the new one is verified."""
        card.pin = code.encode()

    def pull_at_signature(on: bool) -> None:
        card.pull_at_signature = on

    def hold_at_signature(on: bool) -> None:
        """The card thinks at its next signature until it is told to go on."""
        card.signing.clear()
        (card.may_sign.clear if on else card.may_sign.set)()

    def asked_to_sign() -> bool:
        """Wait until a signature is asked for, since `hold_at_signature`."""
        return card.signing.wait(60)

    orders: dict[str, Callable[..., Any]] = {
        "state": card.state,
        "change_pin": change_pin,
        "pull_at_signature": pull_at_signature,
        "hold_at_signature": hold_at_signature,
        "asked_to_sign": asked_to_sign,
    }
    serve(card, options.port, orders)


def _issue(variant: str) -> SimulatedCard:
    person, kind, mark, until = VARIANTS[variant]
    return issue_card(make_ca(), person, kind=kind, mark=mark, until=until)


if __name__ == "__main__":
    main()
