"""R3, R4, R5: PKCS#11 through the worker, against PKCS#11 itself."""

import asyncio
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import PyKCS11
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from agent.pin import Pin
from agent.signing.assertion import AttributeNames, assertion_attributes, unsigned_assertion
from agent.signing.cpx import card_facts
from agent.signing.fake_token import SimulatedKey
from agent.signing.worker import TokenWorker
from agent.signing.xmlsig import SignedAssertion, sign
from benchmarks.client import call, conversation, turn
from benchmarks.figures import Effort, Measured
from benchmarks.parts import Parts
from tests.parts.softhsm import PIN, SoftHsm

HELD_S = 1.2
TRAITS = {"birthName": "ADRTROIS", "givenNames": ["TOUSSAINT"], "sex": "M", "birthDate": "1960-01-01"}
SIGNATURES = 5  # in a turn


def freeze(parts: Parts, effort: Effort) -> Measured:
    """ms of the slowest agent.status of another page while the card is held at its signature, call by call.

    The virtual CPS3 answers the signature's command when told to, so OpenSC is inside C_Sign all the while.
    """
    station, cps = parts.station, parts.cps

    async def slowest() -> float:
        async with conversation(station.port) as asking, conversation(station.port) as other:
            cps.ask("hold_at_signature", on=True)
            asked = asyncio.create_task(call(asking, "insi.retrieveByTraits", traits=TRAITS))
            await asyncio.to_thread(cps.ask, "asked_to_sign")
            until = time.perf_counter() + HELD_S
            pings = []
            while time.perf_counter() < until:
                pings.append(await turn(other, 1))
                await asyncio.sleep(0.002)
            assert not asked.done(), "the signature did not wait"
            cps.ask("hold_at_signature", on=False)
            await asked
            return max(pings)

    asyncio.run(slowest())  # the first call types the code and imports what it needs
    return Measured([1000 * asyncio.run(slowest()) for _ in range(effort.rounds)], f"held for {HELD_S} s each")


def signature(parts: Parts, effort: Effort) -> Measured:
    """A signature through the worker process against PyKCS11 in this process, same token, same key."""
    worker = TokenWorker(parts.softhsm.module)
    try:
        serial, key = worker.look()[0].serial, _key(parts.softhsm)
        worker.login(serial, Pin(bytearray(PIN)))
        direct = _direct(parts.softhsm, key.cka_id)

        def through_the_worker() -> object:
            return worker.sign(serial, key.cka_id, b"a SignedInfo")

        def itself() -> object:
            return direct(b"a SignedInfo")

        assert through_the_worker() == itself()
        return Measured(_ratios(through_the_worker, itself, effort))
    finally:
        worker.close()


def assertion(parts: Parts, effort: Effort) -> Measured:
    """A whole signed assertion PS against the RSA operation in it, both through PyKCS11 in this process."""
    key, direct = _key(parts.softhsm), _direct(parts.softhsm, _key(parts.softhsm).cka_id)
    facts = card_facts(key.certificate_der)

    def signed() -> SignedAssertion:
        unsigned = unsigned_assertion(
            facts,
            assertion_id="_00000000-0000-4000-8000-000000000001",
            issued_at=datetime.now(UTC),
            attributes=assertion_attributes("990000017", "SA07", None, AttributeNames()),
        )
        return sign(unsigned, key.certificate_der, direct)

    _verify(signed(), key.certificate_der)
    return Measured(_ratios(signed, lambda: direct(b"a SignedInfo"), effort), "libxmlsec1 agrees")


def _key(softhsm: SoftHsm) -> SimulatedKey:
    return softhsm.card.keys[0]  # the signature key


def _direct(softhsm: SoftHsm, cka_id: bytes) -> Callable[[bytes], bytes]:
    """The bare operation: a logged-in session, the key found once."""
    library = PyKCS11.PyKCS11Lib()
    library.load(str(softhsm.module))
    session = library.openSession(library.getSlotList(tokenPresent=True)[0])
    if session.getSessionInfo().state != PyKCS11.CKS_RO_USER_FUNCTIONS:
        session.login(PIN.decode())
    wanted: list[tuple[Any, ...]] = [(PyKCS11.CKA_CLASS, PyKCS11.CKO_PRIVATE_KEY), (PyKCS11.CKA_ID, tuple(cka_id))]
    key = session.findObjects(wanted)[0]
    mechanism = PyKCS11.Mechanism(PyKCS11.CKM_SHA256_RSA_PKCS, None)
    return lambda data: bytes(session.sign(key, data, mechanism))


def _ratios(ours: Callable[[], object], bare: Callable[[], object], effort: Effort) -> list[float]:
    for call_once in (ours, bare):
        _seconds(call_once, max(1, effort.warm_up // 10))
    return [_seconds(ours, SIGNATURES) / _seconds(bare, SIGNATURES) for _ in range(effort.turns)]


def _seconds(call_once: Callable[[], object], times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        call_once()
    return time.perf_counter() - began


def _verify(signed: SignedAssertion, certificate_der: bytes) -> None:
    """A signature is worth timing when another implementation accepts it."""
    with tempfile.TemporaryDirectory() as folder:
        xml, pem = Path(folder) / "assertion.xml", Path(folder) / "certificate.pem"
        xml.write_bytes(signed.xml_bytes())
        pem.write_bytes(x509.load_der_x509_certificate(certificate_der).public_bytes(Encoding.PEM))
        command = ["xmlsec1", "--verify", "--id-attr:ID", "Assertion", "--pubkey-cert-pem", str(pem), str(xml)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
