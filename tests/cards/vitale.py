"""A virtual carte Vitale 2, or another card in its place. Invented people only.

Answers the command scripts of the public readers, with T=0 status words. `--card` plays one of CARDS.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tests.cards.vpcd import Pulled, serve

VITALE_2 = "3B751300004409EA9000"
VITALE_1 = "3F6525002209699000"
CPS3 = "3BAC00402A001225006480000310009000"
DURAND = "DURAND,HÉLÈNE,19841231;DURAND,LÉO,20150201"
NIRS = "284127645108993"

_VITALE = bytes.fromhex("D250000002") + b"VITALE"
_MF_VITALE = bytes.fromhex("D250000002") + b"MF_VITALE"
_APPLICATIONS = {bytes.fromhex("3F00"): "MF", _VITALE: "VITALE", _MF_VITALE: "MF_VITALE"}
_FCI = bytes.fromhex("6F0D840BD250000002564954414C45")
_OK, _SHORTER, _PROTECTED, _NO_FILE = map(bytes.fromhex, ("9000", "6282", "6982", "6A82"))
_NO_CURRENT_FILE, _WRONG_OFFSET, _NO_INSTRUCTION = map(bytes.fromhex, ("6986", "6B00", "6D00"))


def tlv(tag: int, value: bytes) -> bytes:
    """One object, short or 81 length."""
    length = bytes([len(value)]) if len(value) < 0x80 else bytes([0x81, len(value)])
    return bytes([tag]) + length + value


def identities(holders: str) -> bytes:
    """The identity file of `NAME,GIVEN,YYYYMMDD;…`."""
    return b"".join(
        tlv(0x65, b"".join(tlv(0x80 + index, text.encode("latin-1")) for index, text in enumerate(holder.split(","))))
        for holder in filter(None, holders.split(";"))
    )


def nirs(numbers: str) -> bytes:
    """The NIR file of `NIR;…`, 15 characters each."""
    return b"".join(tlv(0x65, tlv(0x93, number.encode())) for number in filter(None, numbers.split(";")))


def pointers(*files: tuple[str, int, str]) -> bytes:
    """The pointer file over VITALE (1) and MF_VITALE (2): name, number of the application and id of each file.

    Application numbers, the two unknown bytes and the file names are invented.
    """
    applications = b"".join(
        tlv(0x82, bytes([0, number, 0, 0]) + aid) for number, aid in ((1, _VITALE), (2, _MF_VITALE))
    )
    entries = b"".join(
        tlv(0x80, name.ljust(8).encode() + bytes([0, application]) + bytes.fromhex(file_id))
        for name, application, file_id in files
    )
    return tlv(0xE0, tlv(0xA0, applications) + entries)


def short_path(holders: str = DURAND, numbers: str = NIRS, padding: int = 0) -> dict[str, bytes | None]:
    return {"MF/short 2": identities(holders) + bytes(padding), "VITALE/short 2": nirs(numbers) + bytes(padding)}


@dataclass(frozen=True)
class Card:
    """What is on a card: files by "application/file", None for one that answers 6982."""

    files: Mapping[str, bytes | None] = field(default_factory=short_path)
    atr: str = VITALE_2
    refuses: Mapping[int, str] = field(default_factory=dict)  # status word by class, whatever is asked
    pull_at: int = 0  # leave instead of answering this APDU


_D001 = {"MF_VITALE/D001": identities(DURAND), "VITALE/short 2": nirs(NIRS)}
_PRINTED_POINTERS = pointers(("BENEF", 2, "D001"), ("POINTERS", 1, "2001"))
_POINTERS = {
    "VITALE/2001": pointers(
        ("DIR", 2, "2F00"),  # no such file
        ("PHOTO", 2, "D010"),  # protected
        ("RAW", 1, "D020"),
        ("BENEF", 2, "D001"),
        ("BENEF", 2, "D001"),  # twice
        ("NIR", 1, "D002"),
        ("POINTERS", 1, "2001"),
        ("ELSEWHERE", 9, "D001"),  # an application of no entry
    ),
    "MF_VITALE/D010": None,
    "VITALE/D020": bytes.fromhex("0400FF65"),
    "MF_VITALE/D001": identities(DURAND),
    "VITALE/D002": nirs(NIRS),
}

CARDS = {
    "two-holders": Card(),
    "twins": Card(short_path("DURAND,LÉO,20150201;DURAND,ZOÉ,20150201")),
    "own-numbers": Card(short_path(numbers=f"{NIRS};184122A00408957")),
    "more-numbers-than-holders": Card(short_path("EXEMPLE,CLAUDE,19700101", f"{NIRS};184122A00408957")),
    "no-number": Card(short_path(numbers="")),
    "nine-children": Card(short_path(";".join(f"EXEMPLE,ENFANT {index},2015020{index}" for index in range(1, 10)))),
    "one-block": Card(short_path(padding=256 - len(identities(DURAND)))),
    "lunar": Card(short_path("BENALI,AMINA,19540000")),
    "month-13": Card(short_path("BENALI,AMINA,19541300")),
    "30-february": Card(short_path("EXEMPLE,CLAUDE,19700230")),
    "short-date": Card(short_path("EXEMPLE,CLAUDE,700101")),
    "no-date": Card(short_path("EXEMPLE,CLAUDE")),
    "corsica-a": Card(short_path("EXEMPLE,ORSU,19841201", "184122A00408957")),
    "corsica-b": Card(short_path("EXEMPLE,SAVERIA,19550801", "255082B03304283")),
    "provisional": Card(short_path("EXEMPLE,CLAUDE,19700101", "555555123456729")),
    "wrong-key": Card(short_path(numbers="284127645108900")),
    "short-number": Card(short_path(numbers="28412764510")),
    "long-number": Card(short_path(numbers="28412764510899312")),
    "padding": Card(short_path(padding=71)),
    "long-lengths": Card(
        {
            "MF/short 2": b"\x65\x81" + identities(DURAND)[1:28] + b"\x65\x82\x00" + identities(DURAND)[29:],
            "VITALE/short 2": b"\x65\x82\x00" + nirs(NIRS)[1:],
        }
    ),
    "empty": Card(short_path("", "")),
    "d001": Card(_D001),
    "short-protected": Card({**short_path(), "MF/short 2": None, "MF_VITALE/D001": identities(DURAND)}),
    "short-garbled": Card({**_D001, "MF/short 2": b"\x65\x7f"}),
    "pointers": Card(_POINTERS),
    "pointers-without-number": Card({"VITALE/2001": _PRINTED_POINTERS, "MF_VITALE/D001": identities(DURAND)}),
    "protected": Card(dict.fromkeys((*short_path(), *_D001, *_POINTERS))),
    "garbled": Card({"MF/short 2": b"\x65\x7f", "VITALE/short 2": b""}),
    "no-way": Card({"VITALE/D002": nirs(NIRS)}),
    "vitale-1": Card({}, VITALE_1, {0x00: "6E00", 0xBC: "6D00"}),
    "parking": Card({"MF/short 2": b"\0"}, VITALE_1),
    "cps": Card({}, CPS3),
    "foreign": Card({}),
    "foreign-with-mf": Card({"MF/short 2": None}),
    "mute": Card({}, "00"),
    "pulled": Card(pull_at=3),
}


class Vitale:
    """A card and its manners."""

    def __init__(self, card: Card, **manners: bool) -> None:
        """`manners` as for `play`."""
        self.play(card, **manners)

    @property
    def atr(self) -> bytes:
        return bytes.fromhex(self._card.atr)

    def play(self, card: Card, *, case4: bool = False, exact: bool = False, shorter: bool = False) -> None:
        """Be this card, just powered on.

        `case4`: SELECT answers 61xx; `exact`: a wrong Le is answered 6Cxx; `shorter`: a Le too large, 6282.
        """
        self._card = card
        self._case4, self._exact, self._shorter = case4, exact, shorter
        self._apdus = 0
        self.reset()

    def load(self, holders: str, numbers: str) -> None:
        """Other people on the same card."""
        self._card = replace(self._card, files=short_path(holders, numbers))

    def reset(self) -> None:
        self._application, self._file = "", ""
        self._pending = b""

    def apdu(self, command: bytes) -> bytes:
        self._apdus += 1
        if self._card.pull_at == self._apdus:
            raise Pulled
        if command[0] in self._card.refuses:
            return bytes.fromhex(self._card.refuses[command[0]])
        match command[1]:
            case 0xA4:
                return self._select(command)
            case 0xB0:
                return self._read(command)
            case 0xC0:
                data, self._pending = self._pending[: _length(command) or 256], b""
                return data + _OK
        return _NO_INSTRUCTION

    def _select(self, command: bytes) -> bytes:
        name = command[5 : 5 + _length(command)]
        if name in _APPLICATIONS:
            application, file = _APPLICATIONS[name], ""
            known = application in {file.split("/")[0] for file in self._card.files}
        else:
            application, file = self._application, f"{self._application}/{name.hex().upper()}"
            known = file in self._card.files
        if not known:
            return _NO_FILE
        self._application, self._file = application, file
        if not self._case4:
            return _OK
        self._pending = _FCI
        return bytes([0x61, len(_FCI)])

    def _read(self, command: bytes) -> bytes:
        offset, wanted = int.from_bytes(command[2:4], "big"), _length(command) or 256
        if command[2] & 0x80:
            file, offset = f"{self._application}/short {command[2] & 0x1F}", command[3]
            if file not in self._card.files:
                return _NO_FILE
            self._file = file
        if not self._file:
            return _NO_CURRENT_FILE
        content = self._card.files[self._file]
        if content is None:
            return _PROTECTED
        if offset and offset >= len(content):
            return _WRONG_OFFSET
        data = content[offset : offset + 256]
        if self._exact and data and wanted != len(data):
            return bytes([0x6C, len(data) & 0xFF])
        return data[:wanted] + (_SHORTER if self._shorter and wanted > len(data) else _OK)


def _length(command: bytes) -> int:
    """Lc or Le; 0 where there is none."""
    return int.from_bytes(command[4:5], "big")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("port", type=int)
    arguments.add_argument("--card", choices=CARDS, help="one of ours; else the card of these options:")
    arguments.add_argument("--atr", default=VITALE_2)
    arguments.add_argument("--holders", default=DURAND, help="NAME,GIVEN,YYYYMMDD;…")
    arguments.add_argument("--nirs", default=NIRS, help="15 characters each, ;-separated")
    arguments.add_argument("--padding", type=int, default=0, help="zero bytes after the last template")
    arguments.add_argument("--protected", action="store_true", help="READ BINARY answers 6982")
    arguments.add_argument("--foreign", action="store_true", help="knows no command of a Vitale")
    arguments.add_argument("--pull-at", type=int, default=0, help="leave instead of answering this APDU")
    arguments.add_argument("--case4", action="store_true", help="SELECT answers 61xx")
    arguments.add_argument("--exact", action="store_true", help="READ BINARY answers 6Cxx to another length")
    options = arguments.parse_args()
    files = short_path(options.holders, options.nirs, options.padding)
    if options.protected:
        files = dict.fromkeys(files)
    sample = CARDS.get(options.card) or Card({} if options.foreign else files, options.atr, pull_at=options.pull_at)
    player = Vitale(sample, case4=options.case4, exact=options.exact)
    serve(
        player, options.port, {"load": player.load, "play": lambda card, **manners: player.play(CARDS[card], **manners)}
    )


if __name__ == "__main__":
    main()
