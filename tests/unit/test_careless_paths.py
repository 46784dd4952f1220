"""Host code goes below a directory that foreign code wrote through `engine.confined` alone.

What builds, and what looks into layers, uses none of the names in CARELESS: each of them follows a
symbolic link on its way, or at its end. A place that may has a line in ALLOWED, with the reason.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CARELESS = frozenset([
    "glob", "rglob", "iterdir", "rmtree", "copytree", "copyfile", "copy", "copy2", "copystat",
    "copymode", "move", "write_text", "write_bytes", "read_text", "read_bytes", "open", "unlink",
    "rmdir", "removedirs", "remove", "symlink_to", "hardlink_to", "link", "symlink",
    "chmod", "lchmod", "chown",
    "lchown", "utime", "walk", "fwalk", "scandir", "listdir", "mknod", "mkfifo", "mkdir", "makedirs",
    "rename", "touch", "extractall", "truncate", "setxattr", "remove_tree",
])
# Words that are these functions only as a module's.
WORDS = frozenset(["copy", "move", "remove", "link", "rename", "truncate"])
WHERE = (
    *sorted((ROOT / "engine/build").glob("*.py")),
    *(ROOT / name for name in ("engine/sandbox.py", "engine/layers.py", "engine/jail.py",
                               "store/trees.py", "store/layers.py", "store/stamps.py")),
)

NEW = "in a directory that it has just made, where nothing foreign has been"
ARCHIVE = "members of an archive: each path is checked, and made through no link"
OWN = "files of envd's own, not of a tree"
REAL = "goes into what lstat says is a directory, of a tree at rest, and follows no link at its end"
INSIDE = "runs in the sandbox, which shows nothing else"
PROJECT = "the user's own project, and a copy that nothing foreign has been in"

# file:function -> (names, why)
ALLOWED: dict[str, tuple[str, str]] = {
    "engine/build/base.py:_skeleton": ("chmod mkdir symlink_to write_text", NEW),
    "engine/build/bytecode.py:compile_again": ("mkdir write_bytes", OWN),
    "engine/build/conda.py:_linked": ("mkdir", NEW),
    "engine/build/conda_link.py:link": ("mkdir rmtree", INSIDE),
    "engine/build/conda_link.py:_json": ("read_text", INSIDE),
    "engine/build/conda_link.py:_check_paths": ("read_text", INSIDE),
    "engine/build/cuda.py:build_links": ("symlink_to", NEW),
    "engine/build/context.py:BuildContext.new_upper": ("chmod mkdir", NEW),
    "engine/build/debs.py:bring": ("mkdir", NEW),
    "engine/build/debs.py:_link": ("copyfile hardlink_to", OWN),
    "engine/build/dev.py:build_services": ("mkdir", NEW),
    "engine/build/group.py:_merge": ("copystat link mkdir scandir unlink", REAL),
    "engine/build/handed.py:handed": ("chmod mkdir mkfifo unlink", OWN),
    "engine/build/handed.py:_serve": ("open", OWN),
    "engine/build/http.py:build": ("chmod copyfile", NEW),
    "engine/build/image_files.py:_Copying.take": ("mkdir", ARCHIVE),
    "engine/build/image_files.py:_Copying._take_file": ("mkfifo symlink_to", ARCHIVE),
    "engine/build/image_files.py:build": ("chmod mkdir", NEW),
    "engine/build/image_files.py:_fill": ("link open", ARCHIVE),
    "engine/build/julia.py:build": ("symlink_to utime", REAL),
    "engine/build/julia.py:build_environment": ("chmod write_text", NEW),
    "engine/build/login.py:_activation": ("mkdir", NEW),
    "engine/build/login.py:_append": ("chmod chown write_text", NEW),
    "engine/build/login.py:_write": ("chmod write_text", NEW),
    "engine/build/over.py:write": ("chmod write_text", NEW),
    "engine/build/over.py:link": ("symlink_to unlink", NEW),
    "engine/build/over.py:_place": ("chmod chown mkdir", NEW),
    "engine/build/placed.py:_copy_attributes": ("setxattr", REAL),
    "engine/build/placed.py:_Writer.run": ("chmod mkdir utime", NEW),
    "engine/build/placed.py:_Writer._tree": ("scandir", REAL),
    "engine/build/placed.py:_Writer._make": ("chmod chown mkdir", NEW),
    "engine/build/placed.py:_Writer._copy":
        ("chmod copyfile lchown link mknod symlink unlink utime", REAL),
    "engine/build/places.py:make": ("chmod mkdir", NEW),
    "engine/build/rpackage.py:build": ("mkdir", NEW),
    "engine/build/script.py:write": ("chmod mkdir touch write_bytes", NEW),
    "engine/build/script.py:failure": ("open", "a mount point of its own in the sandbox: stays a file"),
    "engine/build/sdist.py:build": ("mkdir", NEW),
    "engine/build/services.py:finish": ("chmod rglob", NEW),
    "engine/build/services.py:write": ("chmod mkdir write_text", NEW),
    "engine/build/snapshots.py:snapshot": ("copyfile copymode copytree", PROJECT),
    "engine/build/snapshots.py:_normalise": ("chmod chown iterdir utime", PROJECT),
    "engine/build/tars.py:_member": ("chmod hardlink_to open symlink_to unlink utime", ARCHIVE),
    "engine/build/tool.py:build": ("chmod symlink_to write_text", NEW),
    "engine/build/vscode.py:build_index": ("chmod symlink_to write_text", NEW),
    "engine/build/wheel.py:unpack": ("open symlink_to unlink", OWN),
    "engine/build/zips.py:extract": ("chmod open unlink", ARCHIVE),
    "engine/sandbox.py:_far_owner": ("read_text", "/proc"),
    "engine/sandbox.py:_filter_file": ("copyfile", OWN),
    "engine/sandbox.py:run": ("mkdir", NEW),
    "engine/sandbox.py:_overlay_options": ("mkdir symlink_to unlink", OWN),
    "engine/sandbox.py:check": ("mkdir", NEW),
    "engine/sandbox.py:_remove_trial": ("rmdir unlink", NEW),
    "engine/sandbox.py:_file_system": ("read_text", "/proc"),
    "engine/sandbox.py:_holds_something": ("iterdir", "a layer's own /tmp or /run, when it is no link"),
    "engine/sandbox.py:_clean": ("glob rmtree unlink", OWN),
    "engine/jail.py:run": ("mkdir rmtree", OWN),
    "engine/jail.py:ask": ("mkdir", OWN),
    "engine/jail.py:_asked": ("mkdir", NEW),
    "engine/jail.py:_write_accounts": ("write_text", NEW),
    "engine/jail.py:_programs": ("symlink_to", NEW),
    "store/trees.py:open_tar": ("open", "a stream"),
    "store/trees.py:_inside": ("mkdir", ARCHIVE),
    "store/trees.py:set_opaque": ("setxattr", ARCHIVE),
    "store/trees.py:_unpack_member": ("link mkdir mkfifo open symlink unlink", ARCHIVE),
    "store/trees.py:_hide": ("mknod", ARCHIVE),
    "store/trees.py:dress": ("chmod chown setxattr utime", ARCHIVE),
    "store/layers.py:opaque_mark": ("open", "/proc"),
    "store/layers.py:_children": ("scandir", REAL),
    "store/layers.py:_put_content": ("open", REAL),
    "store/layers.py:clamp_times": ("utime", REAL),
    "store/stamps.py:_files": ("scandir", REAL),
}


def careless(source: str) -> Iterator[tuple[str, int, str]]:
    """(function, line, name) of each use of a careless name in a module."""

    def visit(node: ast.AST, function: str) -> Iterator[tuple[str, int, str]]:
        for child in ast.iter_child_nodes(node):
            inner = function
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inner = f"{function}.{child.name}" if function else child.name
            name = ""
            if isinstance(child, ast.Attribute):
                of = child.value.id if isinstance(child.value, ast.Name) else ""
                if of != "confined" and (child.attr not in WORDS or of in ("os", "shutil")):
                    name = child.attr
            elif isinstance(child, ast.Name | ast.Constant):  # getattr(path, "glob")
                word = child.id if isinstance(child, ast.Name) else child.value
                name = word if isinstance(word, str) and word not in WORDS else ""
            elif isinstance(child, ast.alias):
                name = child.name
            if name in CARELESS and isinstance(getattr(child, "ctx", ast.Load()), ast.Load):
                yield inner, child.lineno, name  # type: ignore[attr-defined]
            yield from visit(child, inner)

    return visit(ast.parse(source), "")


def test_trees_are_gone_into_with_care_alone() -> None:
    new, needed = [], set()
    for path in WHERE:
        name = path.relative_to(ROOT).as_posix()
        for function, line, what in careless(path.read_text("utf-8")):
            place = f"{name}:{function}"
            if what in ALLOWED.get(place, ("", ""))[0].split():
                needed.add((place, what))
            else:
                new.append(f"{name}:{line}: {what} in {function or 'the module'}")
    assert not new, "use engine.confined, or say in ALLOWED why not:\n" + "\n".join(new)
    allowed = {(place, what) for place, (names, _) in ALLOWED.items() for what in names.split()}
    assert sorted(allowed - needed) == [], "no longer needed"


@pytest.mark.parametrize(
    "line",
    ["for p in upper.rglob('*'): pass", "shutil.rmtree(upper / 'var')", "(upper / 'x').write_text('')",
     "open(upper / 'x', 'w')", "os.chmod(upper, 0)", "[p.unlink() for p in tree]",
     "map(Path.unlink, tree)",
     "from shutil import rmtree", "from shutil import rmtree as r", "getattr(upper, 'glob')('*')",
     "with path.open() as file: pass", "os.walk(upper)", "path.symlink_to('x')", "remove = os.remove",
     "class A:\n        def f(self): self.upper.iterdir()", "lambda: os.scandir(upper)"],
)
def test_a_careless_line_is_found(line: str) -> None:
    found = list(careless(f"def build(upper):\n    {line}\n"))
    assert found and all(function.startswith("build") for function, _, _ in found)


def test_a_careful_line_is_none() -> None:
    assert not list(careless(
        "def build(upper):\n    confined.remove(upper, 'x')\n    for p in confined.walk(upper): pass\n"
        "    glob = 1\n    'glob it'\n    x.lstat()\n"
    ))
