"""What is done to files, killed (SIGKILL) at each place where it touches one: a fork is killed, Python starts once."""

import itertools
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
_CHILD = """
import os, signal, sys
from pathlib import Path
folder, left = sys.argv[1], 0
{imports}
def act():
    {act}
def watch(event, arguments):
    global left
    touched = event in ("open", "os.rename", "os.remove", "os.chmod", "os.chown")
    if touched and (isinstance(arguments[0], int) or str(arguments[0]).startswith(folder)):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        left = int(line)
        sys.addaudithook(watch)
        act()
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def killed_at_each_step(imports: str, act: str, folder: Path, *, at_least: int) -> Iterator[int]:
    """The number of each step at which `act` (Python) was killed, then of the one that it did not come to.

    Steps are what it does to files in `folder`; `at_least`: so many must be met.
    """
    script = _CHILD.format(imports=imports, act=act)
    with subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin and child.stdout
        for step in itertools.count(1):
            child.stdin.write(f"{step}\n")
            child.stdin.flush()
            ended = int(child.stdout.readline())
            assert ended in (0, -signal.SIGKILL)
            yield step
            if ended == 0:
                break
        child.stdin.close()
    assert step > at_least, "it was not killed often enough"
