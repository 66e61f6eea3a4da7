"""Which native library is loaded: one that nobody else can replace and that is made for this process."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import AgentError, Code
from agent.native import ROOT, check_library, machines, replaceable, this_process

LIBRARY = Path("/usr/lib/softhsm/libsofthsm2.so")  # a link, of the package that other tests need too


def refusal(path: Path, *, owners: tuple[int, ...] | None = None) -> AgentError:
    with pytest.raises(AgentError) as refused:
        check_library(path, owners=owners)
    return refused.value


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Ours alone."""
    file = tmp_path / "library.so"
    file.write_bytes(LIBRARY.read_bytes())
    file.chmod(0o755)
    return file


def test_a_library_of_the_system_passes_and_its_real_file_is_what_to_load() -> None:
    assert check_library(LIBRARY) == LIBRARY.resolve()


def test_a_bare_name_is_never_searched_for(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search path that others may write to must not decide what gets the code."""
    monkeypatch.chdir(library.parent)

    error = refusal(Path(library.name))

    assert (error.code, error.facts["why"]) == (Code.MODULE_UNSAFE, "not an absolute path")


def test_a_folder_where_everybody_writes_is_a_place_only_with_the_sticky_bit(library: Path) -> None:
    """There nobody can replace what belongs to us."""
    shared = library.parent / "shared"
    shared.mkdir()
    moved = library.rename(shared / library.name)

    shared.chmod(0o777)
    refused = refusal(moved)
    shared.chmod(0o1777)

    assert (refused.code, refused.facts) == (
        Code.MODULE_UNSAFE,
        {"path": str(moved), "why": f"others may write to {shared}"},
    )
    assert check_library(moved) == moved


@pytest.mark.parametrize("mode", [0o664, 0o646])
@pytest.mark.parametrize("which", ["file", "folder"])
def test_what_a_group_or_others_may_write_is_refused(library: Path, which: str, mode: int) -> None:
    place = library if which == "file" else library.parent
    place.chmod(mode | 0o100)

    assert refusal(library).facts["why"] == f"others may write to {place}"


def test_what_belongs_to_another_user_is_refused(library: Path) -> None:
    stranger = os.geteuid() + 1

    error = refusal(library, owners=(stranger,))

    assert (error.code, error.facts["why"]) == (Code.MODULE_UNSAFE, f"{library} belongs to user {os.geteuid()}")


def test_the_place_of_a_link_counts_as_that_of_the_file(tmp_path: Path) -> None:
    link = tmp_path / "library.so"
    link.symlink_to(LIBRARY)
    tmp_path.chmod(0o777)

    assert refusal(link).code is Code.MODULE_UNSAFE


def test_a_folder_a_device_and_a_loop_of_links_are_no_libraries(tmp_path: Path) -> None:
    loop = tmp_path / "loop.so"
    loop.symlink_to(loop)

    assert [refusal(path).code for path in (Path("/usr/lib"), Path("/dev/null"), loop)] == [Code.MODULE_UNSAFE] * 3


def test_what_is_no_library_is_looked_at_in_the_same_way(tmp_path: Path) -> None:
    tmp_path.chmod(0o707)

    assert replaceable(Path("/etc"), owners=ROOT) is replaceable(Path("/etc/passwd"), owners=ROOT) is None
    assert replaceable(tmp_path) == f"others may write to {tmp_path}"
    with pytest.raises(FileNotFoundError):
        replaceable(tmp_path / "none")


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    error = refusal(tmp_path / "none.so")

    assert (error.code, error.facts) == (Code.MODULE_MISSING, {"tried": [str(tmp_path / "none.so")]})


def test_what_is_not_made_for_this_process_is_refused_with_both_names() -> None:
    error = refusal(Path("/etc/passwd"))  # a safe place; no library at all

    assert error.code is Code.MODULE_BITNESS
    assert error.facts == {"path": "/etc/passwd", "found": "unknown", "wanted": ", ".join(this_process())}


def elf(machine: int, *, order: int = 1) -> bytes:
    return b"\x7fELF\x02" + bytes([order]) + bytes(12) + machine.to_bytes(2, "little" if order == 1 else "big")


def pe(machine: int) -> bytes:
    return b"MZ" + bytes(58) + (64).to_bytes(4, "little") + b"PE\0\0" + machine.to_bytes(2, "little")


def mach_o(*machines: int) -> bytes:
    """One architecture, or a universal file with several."""
    if len(machines) == 1:
        return bytes.fromhex("cffaedfe") + machines[0].to_bytes(4, "little")
    rows = b"".join(machine.to_bytes(4, "big") + bytes(16) for machine in machines)
    return bytes.fromhex("cafebabe") + len(machines).to_bytes(4, "big") + rows


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (elf(62), {"ELF x86-64"}),
        (elf(3), {"ELF x86"}),
        (elf(183), {"ELF arm64"}),
        (elf(21, order=2), {"ELF 0x15"}),
        (pe(0x8664), {"PE x86-64"}),
        (pe(0x14C), {"PE x86"}),
        (mach_o(0x0100_000C), {"Mach-O arm64"}),
        (mach_o(0x0100_0007, 0x0100_000C), {"Mach-O x86-64", "Mach-O arm64"}),
        (bytes.fromhex("cafebabe00000041"), set()),  # a Java class
        (b"MZ a program of DOS", set()),
        (b"", set()),
    ],
)
def test_the_header_says_for_which_machine_a_library_is(header: bytes, found: set[str]) -> None:
    """gABI e_machine; Microsoft PE Format, COFF Machine; loader.h cputype."""
    assert machines(header) == found


@given(
    st.binary(max_size=200), st.sampled_from([b"", b"\x7fELF", b"MZ", bytes.fromhex("cafebabe"), b"\xcf\xfa\xed\xfe"])
)
def test_any_bytes_are_known_or_not(rest: bytes, magic: bytes) -> None:
    assert all(" " in name for name in machines(magic + rest))


def test_this_process_is_one_machine() -> None:
    assert len(this_process()) == 1
