"""Where a journal may be: on this machine's own disk, not on a network, and not where it is thrown away. ★

Asked of the system alone; nothing is written.
"""

import sys
from pathlib import Path

_NETWORK = ("nfs", "cifs", "smb", "afs", "ceph", "glusterfs", "lustre", "davfs", "ncp", "beegfs", "gpfs")
_NETWORK_FUSE = ("fuse.sshfs", "fuse.rclone", "fuse.gvfsd", "fuse.davfs", "fuse.gluster", "fuse.ceph", "fuse.s3fs")
_IN_MEMORY = ("tmpfs", "ramfs")
_PROFILES = {1: "profil temporaire", 2: "profil itinérant", 4: "profil obligatoire", 8: "profil itinérant"}


def network_kind(folder: Path) -> str | None:
    """The kind of network file system this folder is, or will be, on; None when it is local."""
    if sys.platform == "win32":
        return _windows_network(folder)
    return mounted_network(folder.resolve(), _mounts())


def passing_kind(folder: Path) -> str | None:
    """Why what is in this folder does not last: a file system in memory, or a profile that is thrown away or carried
    elsewhere. None when it lasts, as far as the system says."""
    if sys.platform == "win32":
        return _windows_profile(folder)
    return mounted_in_memory(folder.resolve(), _mounts())


def mounted_network(folder: Path, mounts: str) -> str | None:
    """As `network_kind`, from the text of /proc/mounts."""
    kind = _mounted(folder, mounts)
    return kind if kind.startswith(_NETWORK) or kind.startswith(_NETWORK_FUSE) else None


def mounted_in_memory(folder: Path, mounts: str) -> str | None:
    """As `passing_kind`, from the text of /proc/mounts."""
    kind = _mounted(folder, mounts)
    return f"en mémoire ({kind})" if kind in _IN_MEMORY else None


def _mounts() -> str:
    mounts = Path("/proc/mounts")
    return mounts.read_text(errors="replace") if mounts.exists() else ""


def _mounted(folder: Path, mounts: str) -> str:
    """The kind of file system by proc(5): the deepest mount counts, the last one on it."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue
        point = Path(fields[1].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\"))
        if folder.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), fields[2]
    return kind


def _windows_network(folder: Path) -> str | None:
    """UNC path or mapped drive. Written from the documents, untested on real Windows."""
    if sys.platform != "win32":
        return None
    import ctypes

    drive = folder.absolute().drive
    if drive.startswith("\\\\"):
        return "UNC path"
    drive_remote = 4
    return "network drive" if ctypes.windll.kernel32.GetDriveTypeW(f"{drive}\\") == drive_remote else None


def _windows_profile(folder: Path) -> str | None:
    """What the user's profile is, for a folder in it: userenv.h, GetProfileType, PT_*.

    Local application data never roams, but an installation may delete a roaming profile's local copy at sign-out.
    Written from the documents, untested on real Windows.
    """
    if sys.platform != "win32":
        return None
    import ctypes
    from ctypes import wintypes

    flags = wintypes.DWORD()
    in_profile = folder.absolute().is_relative_to(Path.home())
    if not in_profile or not ctypes.windll.userenv.GetProfileType(ctypes.byref(flags)):
        return None
    return next((kind for flag, kind in _PROFILES.items() if flags.value & flag), None)
