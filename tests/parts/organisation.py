"""The real agent before a simulated INSi with certificates of structures: in a session, in a home of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.insi.fake_insi import SimulatedInsi
from agent.model import AuthMode
from agent.places import find_running
from agent.simulator.pki import Issued, issue_server
from tests.parts.desktop import until
from tests.parts.session import in_a_session

CALL = {
    "traits": {"birthName": "ADRTROIS", "givenNames": ["TOUSSAINT"], "sex": "M", "birthDate": "1960-01-01"},
    "authMode": "organisation",
    "user": {"id": "accueil-2"},
}
INSI = """
[insi]
retries = 0
revocation = "off"
[insi.endpoints.test]
organisation = "{url}"
[insi.anchors.test]
organisation = ["{ca}"]
"""


@contextmanager
def insi_of(ca: Issued) -> Iterator[SimulatedInsi]:
    """An INSi that has its certificate from this authority, and trusts no other."""
    server = issue_server(ca)
    insi = SimulatedInsi(server.pem, server.key_pem, ca.pem, record=True)
    insi.start()
    try:
        yield insi
    finally:
        insi.stop()


@contextmanager
def agent_before(
    insi: SimulatedInsi, ca: Issued, folder: Path, *, config: str, script: str, **environment: str
) -> Iterator[int]:
    """The port of the agent that `script` starts; `config` is what config.toml says but for where INSi is."""
    (folder / "ca.pem").write_bytes(ca.pem)
    where = INSI.format(url=insi.url(AuthMode.ORGANISATION), ca=folder / "ca.pem")
    (folder / "config.toml").write_text(config + where, encoding="utf-8")
    (folder / "runtime").mkdir(mode=0o700)
    own = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(folder / "runtime"),
        "PYTHON": sys.executable,
        "PYTHONPATH": str(Path(__file__).parent.parent.parent),
    }
    with (folder / "log").open("wb") as log:
        session = subprocess.Popen(
            in_a_session(["bash", "-c", script]), cwd=folder, env={**own, **environment}, stdout=log, stderr=log
        )
    runtime = folder / "runtime" / "insi-agent"
    until(lambda: find_running(runtime) is not None or session.poll() is not None, "the agent listens")
    running = find_running(runtime)
    assert running, (folder / "log").read_text()
    try:
        yield running.port
    finally:
        os.kill(running.pid, signal.SIGTERM)
        session.wait(30)
