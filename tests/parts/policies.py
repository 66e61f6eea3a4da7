"""Policy files that only the browsers of one test see: they run in a mount namespace with a changed /etc.

Nothing is written into the real /etc, so that other browsers of the machine are left alone, and nothing has to be
tidied up. Needs root, or a kernel that lets a user make namespaces; else the browser fails to start with the reason.
"""

import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

_BROWSERS = ("chromium", "firefox-esr")


def seen_by_browsers(files: Mapping[str, bytes], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on, browsers that the test starts find these files (`etc/…`) on their machine."""
    changed, work, programs = (folder / name for name in ("changed", "work", "programs"))
    for name, content in files.items():
        if name.startswith("etc/"):
            file = changed / name.removeprefix("etc/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    for made in (changed, work, programs):
        made.mkdir(parents=True, exist_ok=True)
    mount = f"mount -t overlay overlay -o lowerdir=/etc,upperdir={changed},workdir={work} /etc"
    namespace = "unshare --mount" if os.geteuid() == 0 else "unshare --mount --map-root-user"
    for name in _BROWSERS:
        real = shutil.which(name)
        if real is None:
            pytest.fail(f"no {name} here: install the package of this name")
        inside = shlex.quote(f'{mount} && exec {real} "$@"')
        (programs / name).write_text(f'#!/bin/sh\nexec {namespace} sh -c {inside} {name} "$@"\n', "utf-8")
        (programs / name).chmod(0o700)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
