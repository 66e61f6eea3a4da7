"""How a process dies: in front of a system call, after something it said, or at a random instant."""

import math
import subprocess
from dataclasses import dataclass
from random import Random

WAIT_S = 60
SAID, INSTANT = "said", "instant"


@dataclass(frozen=True)
class Kill:
    """Before its `number`th call of this name, after so many things said, or after so many milliseconds."""

    how: str
    number: int

    @classmethod
    def at_random(cls, chance: Random, ways: dict[str, tuple[int, int]]) -> "Kill":
        """`ways`: name → how often it is wanted, and the latest number. Half of them are early."""
        how = chance.choices(list(ways), [often for often, _ in ways.values()])[0]
        latest = ways[how][1]
        early = int(math.exp(chance.uniform(0, math.log(latest + 1))))
        return cls(how, chance.choice((early, chance.randint(1, latest))))

    @property
    def exact(self) -> bool:
        """By strace: it is dead before the call begins."""
        return self.how not in (SAID, INSTANT)

    def __str__(self) -> str:
        return f"{self.how} {self.number}"


def aim(pid: int, kill: Kill) -> subprocess.Popen[str]:
    """strace, attached to every thread of this process: it ends with it."""
    inject = f"inject={kill.how}:signal=KILL:when={kill.number}"
    command = ["strace", "-f", "-o", "/dev/null", "-e", f"trace={kill.how}", "-e", inject, "-p", str(pid)]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr
    said = tracer.stderr.readline()
    assert "attached" in said, f"strace does not attach: {said}"
    return tracer
