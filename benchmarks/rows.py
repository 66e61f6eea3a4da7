"""The table: every row, its gate and its aim. No I/O of its own.

R2 (against AusweisApp2) and R7 (the package) come with what they measure.
"""

from benchmarks import door, idle, insi, journal, reading, signing, start
from benchmarks.figures import Row

ROWS = {
    "R1": Row("agent.status / echo of a bare websockets server, one core", "x", 1.30, 1.10, door.round_trip),
    "R3": Row("slowest ping of another page while a card signs for 1.2 s", "ms", 50, 10, signing.freeze),
    "R4": Row("signature through the worker / PyKCS11 in process, SoftHSM", "x", 2.2, 1.5, signing.signature),
    "R5": Row("signed assertion / its RSA operation, SoftHSM", "x", 2.5, 1.8, signing.assertion),
    "R6": Row("start to first answer / bare websockets server", "x", 2.3, 1.5, start.start),
    "R8": Row("idle memory of agent and worker, PSS", "MB", None, None, idle.memory),
    "R9": Row("idle wake-ups per second, three readers, card session open, no client", "/s", 1.0, 0.2, idle.wake_ups),
    "R10": Row("50 clients at once, slowest / bare websockets server", "x", 2.5, 1.3, door.crowd),
    "R11": Row("memory growth by a refused frame of 64 MiB", "MB", 8, 2, door.large_frame),
    "R12": Row("second INSi call on a kept TLS session / first", "x", 0.5, 0.25, insi.kept_session),
    "R13": Row("command to a card / SCardTransmit, virtual Vitale", "x", 1.6, 1.3, reading.command),
    "R14": Row("our own part of insi.retrieveWithVitale", "ms", 15, 5, insi.own_time),
    "J1": Row("a traced call in a journal of 1,000,000 entries / of 10", "x", 1.3, 1.1, journal.append),
    "J2": Row("trace.list from a journal of 1,000,000 entries / of 10", "x", 1.3, 1.1, journal.listing),
    "J3": Row("verify, an entry of 1,000,000 / of 10,000", "x", 1.3, 1.1, journal.verifying),
}
