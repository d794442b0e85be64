"""Ratchets: what keeps the code in shape stays kept."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from guerdon.domain.errors import BY_CODE, STATUS, ServiceError

ROOT = Path(__file__).parents[1]
GENERATED = ROOT / "clients/guerdon_client/stubs"
SOURCES = sorted(
    path
    for folder in ("service", "clients")
    for path in (ROOT / folder).rglob("*.py")
    if not path.is_relative_to(GENERATED)
)
UNSAFE_MODULES = {"pickle", "cloudpickle", "dill", "shelve", "marshal", "multiprocessing"}


def trees():
    return [(path.relative_to(ROOT), ast.parse(path.read_text())) for path in SOURCES]


def every_error(kind=ServiceError):
    return {kind}.union(*(every_error(sub) for sub in kind.__subclasses__()))


def test_every_error_has_a_status_and_a_code_of_its_own():
    """A new error cannot ship without a place on the wire."""
    assert every_error() == set(STATUS)
    assert len(BY_CODE) == len(STATUS)


def test_no_file_is_long():
    """At most 500 lines."""
    assert [path for path in SOURCES if len(path.read_text().splitlines()) > 500] == []


def test_no_function_is_long():
    """At most 60 lines."""
    long = [
        f"{path}:{node.lineno} {node.name}"
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno >= 60
    ]
    assert long == []


def test_the_environment_is_read_in_one_module():
    """Settings come from one place. (A worker child also sets how OpenMP waits, for which there is no other door.)

    The client's adapters, which trainers load by name, have a place of their own.
    """
    readers = {
        str(path)
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
    }
    assert readers == {
        "service/guerdon/config/load.py",
        "service/guerdon/workers/child.py",
        "clients/guerdon_client/environment.py",
        "service/guerdon/engines/vllm_leash.py",
    }


def test_nothing_is_unpickled():
    """No module that can run code from data is imported anywhere, nor a loader that would."""
    for path, tree in trees():
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not UNSAFE_MODULES & {name.split(".")[0] for name in names}, path
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            assert called not in ("torch.load", "yaml.unsafe_load", "np.load", "eval", "exec"), path


def test_packages_hold_a_docstring_and_nothing_else():
    """But for the client's public face."""
    for path, tree in trees():
        if path.name == "__init__.py" and path.parts[0] == "service":
            assert [type(node) for node in tree.body] == [ast.Expr], path


@pytest.mark.parametrize("module", ["guerdon.cli.main", "guerdon.wiring", "guerdon.transport.http", "guerdon_client"])
def test_importing_the_gateway_loads_no_torch(module):
    """The gateway's process needs neither torch nor transformers."""
    probe = f"import sys, {module}; print([m for m in ('torch', 'transformers', 'peft') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", probe], text=True).strip() == "[]"
