"""A virtual carte Vitale 2, or another card in its place. Invented people only.

Answers the command script of the public readers, with T=0 status words.
"""

import argparse

from tests.cards.vpcd import Pulled, serve

VITALE_2 = "3B751300004409EA9000"
CPS3 = "3BAC00402A001225006480000310009000"
DURAND = "DURAND,HÉLÈNE,19841231;DURAND,LÉO,20150201"
NIRS = "284127645108993"

_MF = bytes.fromhex("00A40000023F00")
_VITALE = bytes.fromhex("00A404000BD250000002") + b"VITALE"
_READ = bytes.fromhex("00B0")
_SHORT_FILE_2 = 0x82
_GET_RESPONSE = bytes.fromhex("00C00000")
_FCI = bytes.fromhex("6F0D840BD250000002564954414C45")


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


class Vitale:
    """The card's two readable files and its manners."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._apdus = 0
        self.load(options.holders, options.nirs)
        self.reset()

    @property
    def atr(self) -> bytes:
        return bytes.fromhex(self._options.atr)

    def load(self, holders: str, numbers: str) -> None:
        padding = bytes(self._options.padding)
        self._files = {"mf": identities(holders) + padding, "vitale": nirs(numbers) + padding}

    def reset(self) -> None:
        self._selected = ""
        self._pending = b""

    def apdu(self, command: bytes) -> bytes:
        self._apdus += 1
        if self._options.pull_at == self._apdus:
            raise Pulled
        if self._options.foreign:
            return bytes.fromhex("6A82")
        if command == _MF:
            self._selected = "mf"
            return bytes.fromhex("9000")
        if command[: len(_VITALE)] == _VITALE:
            self._selected = "vitale"
            return self._later(_FCI) if self._options.case4 else bytes.fromhex("9000")
        if command[:4] == _GET_RESPONSE:
            data, self._pending = self._pending[: command[4] or 256], b""
            return data + bytes.fromhex("9000")
        if command[:2] == _READ and self._selected:
            offset = 0 if command[2:4] == bytes([_SHORT_FILE_2, 0]) else int.from_bytes(command[2:4], "big")
            return self._read(offset, command[4] or 256)
        return bytes.fromhex("6A82" if command[1] == 0xA4 else "6D00")

    def _read(self, offset: int, wanted: int) -> bytes:
        if self._options.protected:
            return bytes.fromhex("6982")
        data = self._files[self._selected][offset:]
        if offset and not data:
            return bytes.fromhex("6B00")
        if self._options.exact and wanted != len(data):
            return bytes([0x6C, len(data)])
        return data[:wanted] + bytes.fromhex("9000")

    def _later(self, data: bytes) -> bytes:
        self._pending = data
        return bytes([0x61, len(data)])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("port", type=int)
    arguments.add_argument("--atr", default=VITALE_2)
    arguments.add_argument("--holders", default=DURAND, help="NAME,GIVEN,YYYYMMDD;…")
    arguments.add_argument("--nirs", default=NIRS, help="15 characters each, ;-separated")
    arguments.add_argument("--case4", action="store_true", help="SELECT VITALE answers 61xx")
    arguments.add_argument("--exact", action="store_true", help="READ BINARY answers 6Cxx to another length")
    arguments.add_argument("--padding", type=int, default=0, help="zero bytes after the last template")
    arguments.add_argument("--protected", action="store_true", help="READ BINARY answers 6982")
    arguments.add_argument("--foreign", action="store_true", help="knows no command of a Vitale")
    arguments.add_argument("--pull-at", type=int, default=0, help="leave instead of answering this APDU")
    options = arguments.parse_args()
    card = Vitale(options)
    serve(card, options.port, {"load": card.load})


if __name__ == "__main__":
    main()
