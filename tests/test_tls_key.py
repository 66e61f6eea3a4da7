"""The client key on its way into TLS: no clear form of it on any disk, at no instant, also when the load is killed."""

import os
import re
import signal
import ssl
import stat
import subprocess
import sys
from base64 import b64encode
from functools import cache
from pathlib import Path
from typing import Literal

import pytest
from cryptography.hazmat.primitives import serialization

from agent.errors import AgentError, Code
from agent.simulator.pki import Issued, issue_organisation, make_ca
from agent.tls_key import load_key

ROOT = Path(__file__).parent.parent

# What a test's child begins with: it is told the key by its standard input, and nothing of it by a file.
CHILD = """
import os, random, signal, ssl, sys
from pathlib import Path
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_private_key
from agent.tls_key import load_key
folder = Path(sys.argv[1])
material = sys.stdin.buffer.read()
key, chain = load_der_private_key(material[4:], None), Path(sys.argv[2]).read_bytes()

def load():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    load_key(context, chain, key, folder)
    return context
"""

LOAD_ONCE = CHILD + "load()\n"

# Each line in which a load touches the disk is the last one once; the process is killed there.
KILLED_AT_EACH_LINE = (
    CHILD
    + """
def killed_at(step):
    count = 0
    def line(frame, event, _):
        nonlocal count
        count += 1
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return line
    def called(frame, event, _):
        return line if Path(frame.f_code.co_filename).name in ("tls_key.py", "tempfile.py", "shutil.py") else None
    sys.settrace(called)
    load()
    sys.settrace(None)
    os._exit(0)

load()
here = folder
for step in range(1, 1000):
    folder = here / str(step)
    folder.mkdir()
    child = os.fork()
    if not child:
        killed_at(step)
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) == 0:
        break
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, status
print(step)
"""
)

LOAD_FOR_EVER = (
    CHILD
    + """
load()
print("loading", flush=True)
while True:
    load()
"""
)


@cache
def own() -> Issued:
    return issue_organisation(make_ca())


@cache
def clear_forms() -> list[bytes]:
    """What would give the key away: its secret numbers in each way they are written, and lines of each text form."""
    numbers = own().key.private_numbers()
    forms: list[bytes] = []
    for number in (numbers.p, numbers.q, numbers.d, numbers.dmp1, numbers.dmq1, numbers.iqmp):
        orders: tuple[Literal["big", "little"], ...] = ("big", "little")
        for order in orders:
            raw = number.to_bytes((number.bit_length() + 7) // 8, order)
            forms += [raw[8:40], raw.hex().encode()[16:80], raw.hex().upper().encode()[16:80]]
            forms += [b64encode(raw[start:])[8:48] for start in range(3)]
        forms.append(str(number).encode()[8:72])
    for form in (serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL):
        pem = own().key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        forms += pem.splitlines()[2:-1]  # the first one says only what kind of key it is
    return forms


def gives_away(content: bytes) -> bool:
    return any(form in content for form in clear_forms())


def files_under(*folders: Path) -> list[Path]:
    return [file for folder in folders for file in folder.rglob("*") if file.is_file()]


def child(script: str, folder: Path, *, before: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
    """A child that has the key; its temporary folder is `folder`/tmp, its private one `folder`/private."""
    private, temporary, chain = folder / "private", folder / "tmp", folder / "chain.pem"
    for made in (private, temporary):
        made.mkdir(mode=0o700, exist_ok=True)
    chain.write_bytes(own().pem)
    process = subprocess.Popen(
        [*before, sys.executable, "-c", script, str(private), str(chain)],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary), "HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin
    der = own().key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    process.stdin.write(b"key:" + der)
    process.stdin.close()
    process.stdin = None
    return process


# ---------------------------------------------------------------- the search itself


@pytest.mark.parametrize("encoding", [serialization.Encoding.PEM, serialization.Encoding.DER])
@pytest.mark.parametrize("form", [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL])
def test_a_clear_key_would_be_found(encoding: serialization.Encoding, form: serialization.PrivateFormat) -> None:
    written = own().key.private_bytes(encoding, form, serialization.NoEncryption())

    assert gives_away(b"something\n" + written + b"\nmore")
    assert not gives_away(own().pem)


# ---------------------------------------------------------------- a load as the system sees it


def test_a_traced_load_writes_no_clear_key_anywhere(tmp_path: Path) -> None:
    """Every byte that the process and its threads hand to the system, whatever the file."""
    trace = tmp_path / "trace"
    calls = "write,pwrite64,writev,pwritev,pwritev2,sendto,sendmsg,splice,memfd_create,openat,open,creat,rename,unlink"
    strace = ("strace", "-f", "-xx", "-s", "1000000", "-e", f"trace={calls}", "-o", str(trace))

    (tmp_path / "home").mkdir()
    process = child(LOAD_ONCE, tmp_path / "home", before=strace)
    _, errors = process.communicate(timeout=60)
    lines = trace.read_text(encoding="ascii").splitlines()

    assert process.returncode == 0, errors.decode()
    written = [plain(line) for line in lines if re.search(r"\b(p?writev?2?|pwrite64|sendto|sendmsg)\(", line)]
    encrypted = [content for content in written if b"BEGIN ENCRYPTED PRIVATE KEY" in content]
    opened = [plain(line) for line in lines if "O_CREAT" in line]
    assert len(encrypted) == 1  # the trace shows what is written, and it was written once
    assert not gives_away(b"".join(written))
    assert [name for name in opened if name.endswith(b"material.pem")]
    assert all(str(tmp_path).encode() in name for name in opened)  # nothing is made elsewhere
    assert not any(gives_away(file.read_bytes()) for file in files_under(tmp_path / "home"))
    assert list((tmp_path / "home").rglob("tls-*")) == []


def plain(line: str) -> bytes:
    """The strings of a call as strace prints them with -xx, put together."""
    return bytes.fromhex("".join(re.findall(r"\\x([0-9a-f]{2})", line)))


# ---------------------------------------------------------------- a load that is killed


def test_a_load_killed_at_any_line_leaves_no_clear_key_and_the_next_one_removes_what_it_left(tmp_path: Path) -> None:
    process = child(KILLED_AT_EACH_LINE, tmp_path)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors.decode()
    steps = int(output)

    private = tmp_path / "private"
    left = list(private.glob("*/tls-*"))
    assert steps > 50
    assert 20 < len(left) < steps - 20  # before it was made, while it was there, after it was gone
    assert [folder for folder in left if (folder / "material.pem").exists()]
    assert not any(gives_away(file.read_bytes()) for file in files_under(tmp_path))
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in left} == {0o700}
    assert {stat.S_IMODE(file.stat().st_mode) for folder in left for file in folder.iterdir()} == {0o600}
    for folder in {one.parent for one in left}:
        load_key(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), own().pem, own().key, folder)
    assert list(private.glob("*/tls-*")) == []


def test_loads_killed_from_outside_leave_no_clear_key(tmp_path: Path) -> None:
    """At whatever instant: also inside OpenSSL, where no line of Python is."""
    for _ in range(12):
        process = child(LOAD_FOR_EVER, tmp_path)
        assert process.stdout
        assert process.stdout.readline() == b"loading\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert process.stderr
        process.stderr.close()

        assert not any(gives_away(file.read_bytes()) for file in files_under(tmp_path))
        assert len(list(tmp_path.rglob("tls-*"))) <= 1  # the last one's

    load_key(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), own().pem, own().key, tmp_path / "private")
    assert list(tmp_path.rglob("tls-*")) == []


# ---------------------------------------------------------------- the folder


def test_a_load_touches_nothing_else_in_its_folder(tmp_path: Path) -> None:
    kept = [tmp_path / "tls.pem", tmp_path / "autre"]
    for file in kept:
        file.write_bytes(b"x")

    load_key(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), own().pem, own().key, tmp_path)

    assert sorted(file.name for file in tmp_path.iterdir()) == ["autre", "tls.lock", "tls.pem"]


def test_two_programs_that_load_at_once_do_not_remove_each_others_folder(tmp_path: Path) -> None:
    script = CHILD + "for _ in range(40):\n    load()\n"
    processes = [child(script, tmp_path) for _ in range(2)]

    failures = [process.communicate(timeout=60)[1].decode() for process in processes]

    assert [process.returncode for process in processes] == [0, 0], failures


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(AgentError) as error:
        load_key(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), own().pem, own().key, tmp_path / "absent")

    assert error.value.code is Code.CONFIG_INVALID
