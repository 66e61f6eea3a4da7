"""The rules that carry the house: who imports whom, and what importing the agent loads."""

import ast
import gc
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

AGENT = Path(__file__).parent.parent / "agent"
FOLDERS = {"readers", "signing", "insi", "protocol", "tray", "journal"}
SHARED = {"errors", "model", "nir", "pin"}

# Each outside library that reaches outside, and the only files that may import it.
EDGES = {
    "websockets": {"protocol/server.py", "client.py"},
    "smartcard": {"readers/pcsc.py"},
    "PyKCS11": {"signing/pkcs11.py"},
    "zeep": {"insi/contract/documents.py"},
    "signxml": {"signing/xmlsig.py", "insi/fake_assertion.py"},
    "urllib3": {"insi/http.py"},
    "requests": set(),
    "pypac": {"insi/pac.py"},
    "dukpy": {"insi/pac.py"},
    "pystray": {"tray/icon.py"},
    "PIL": {"tray/icon.py"},
    "Xlib": {"tray/x11.py"},
    "tkinter": {"tray/dialogs/serve.py", "tray/dialogs/window.py", "doctor.py"},
    "jeepney": {"screen.py"},
    "keyring": {"secrets.py"},
    "sqlite3": {"journal/store.py", "journal/files.py", "journal/listing.py", "journal/apart.py", "journal/due.py"},
    "psutil": {"readers/rivals.py", "peers.py"},
    "joserfc": {"identity.py"},
    "subprocess": {"child.py"},
    "pickle": set(),
}
# Where folders may meet: values in the workflows, objects in desks.py and app.py, and those that start or probe edges.
JOINERS = ("workflows/", "simulator/", "app.py", "desks.py", "running.py", "doctor.py", "__main__.py")
HEAVY = [
    "smartcard",
    "PyKCS11",
    "zeep",
    "signxml",
    "pystray",
    "keyring",
    "websockets",
    "requests",
    "pypac",
    "urllib3",
    "tkinter",
    "jeepney",
    "psutil",
]


def files() -> list[Path]:
    return sorted(AGENT.rglob("*.py"))


@cache
def tree_of(file: Path) -> ast.Module:
    """Parsed once. CPython 3.11's parser fails when the garbage collector runs Python code meanwhile (gh-106905)."""
    gc.disable()
    try:
        return ast.parse(file.read_text(encoding="utf-8"))
    finally:
        gc.enable()


def name_of(file: Path) -> str:
    return file.relative_to(AGENT).as_posix()


def imports(file: Path, *, only_at_run_time: bool = False, only_at_import: bool = False) -> Iterator[str]:
    """Full names of the modules a file imports; those under TYPE_CHECKING are no imports at run time."""

    def walk(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test) and only_at_run_time:
            return
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and only_at_import:
            return
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        for child in ast.iter_child_nodes(node):
            yield from walk(child)

    yield from walk(tree_of(file))


@pytest.mark.parametrize("folder", sorted(FOLDERS))
def test_folders_never_import_one_another(folder: str) -> None:
    """They meet in the workflows, in desks.py and in app.py only."""
    for file in (AGENT / folder).rglob("*.py"):
        for module in imports(file):
            if module.startswith("agent."):
                first = module.split(".")[1]
                assert first == folder or first not in FOLDERS, f"{name_of(file)} imports {module}"


def test_what_everybody_knows_knows_nobody() -> None:
    allowed = SHARED | {""}
    for name in SHARED:
        for module in imports(AGENT / f"{name}.py"):
            top = module.split(".")[0]
            ours = module.startswith("agent.") and module.split(".")[1] in allowed
            assert ours or top == "pydantic" or top in sys.stdlib_module_names, f"{name}.py imports {module}"


@pytest.mark.parametrize("library", sorted(EDGES))
def test_each_outside_library_has_its_one_file(library: str) -> None:
    found = {name_of(file) for file in files() if any(module.split(".")[0] == library for module in imports(file))}

    assert found <= EDGES[library]


def test_only_workflows_and_app_join_the_folders() -> None:
    for file in files():
        met = {module.split(".")[1] for module in imports(file) if module.startswith("agent.")} & FOLDERS
        if len(met) > 1:
            assert name_of(file).startswith(JOINERS), name_of(file)


def test_nothing_is_read_by_pickle_yaml_or_eval() -> None:
    for file in files():
        tree = tree_of(file)
        called = {
            node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not called & {"eval", "exec", "compile"}, name_of(file)


def test_importing_the_agent_loads_none_of_the_heavy_packages() -> None:
    """Listen first; each heavy package is imported on its first use."""
    script = f"import agent.app, sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert loaded.stdout.strip() == "[]"


def test_every_file_says_its_job_first() -> None:
    for file in files():
        doc = ast.get_docstring(tree_of(file))
        assert doc, f"{name_of(file)} does not say its job"
