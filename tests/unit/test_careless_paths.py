"""Host code goes below a directory that foreign code wrote through `engine.realise.confined` alone.

What builds, and what looks into layers, uses none of the names in CARELESS: each of them follows a
symbolic link on its way, or at its end. A place that may has a line in ALLOWED, with the reason.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CARELESS = frozenset(
    [
        "glob",
        "rglob",
        "iterdir",
        "rmtree",
        "copytree",
        "copyfile",
        "copy",
        "copy2",
        "copystat",
        "copymode",
        "move",
        "write_text",
        "write_bytes",
        "read_text",
        "read_bytes",
        "open",
        "unlink",
        "rmdir",
        "removedirs",
        "remove",
        "symlink_to",
        "hardlink_to",
        "link",
        "symlink",
        "chmod",
        "lchmod",
        "chown",
        "lchown",
        "utime",
        "walk",
        "fwalk",
        "scandir",
        "listdir",
        "mknod",
        "mkfifo",
        "mkdir",
        "makedirs",
        "rename",
        "touch",
        "extractall",
        "truncate",
        "setxattr",
        "remove_tree",
    ]
)
# Words that are these functions only as a module's.
WORDS = frozenset(["copy", "move", "remove", "link", "rename", "truncate"])
WHERE = (
    # What builds, wherever it is: each takes a BuildContext.
    *sorted(
        path
        for room in ("ecosystems", "realise")
        for path in (ROOT / "engine" / room).rglob("*.py")
        if "BuildContext" in path.read_text("utf-8")
    ),
    *(
        ROOT / f"engine/realise/{name}.py"
        for name in (
            "handed",
            "hints",
            "leftovers",
            "placed",
            "places",
            "script",
            "snapshots",
            "tars",
            "traces",
            "zips",
        )
    ),
    *(
        ROOT / f"engine/ecosystems/{name}.py"
        for name in ("conda/link", "debian/debs", "debian/first_start", "python/interpreter")
    ),
    *(
        ROOT / name
        for name in (
            "engine/realise/bubblewrap.py",
            "engine/realise/merged.py",
            "engine/realise/overlays.py",
            "engine/realise/sandbox.py",
            "engine/realise/spawn.py",
            "engine/oci/filesystem.py",
            "engine/realise/jail.py",
            "store/trees.py",
            "store/layers.py",
            "store/stamps.py",
        )
    ),
)

NEW = "in a directory that it has just made, where nothing foreign has been"
ARCHIVE = "members of an archive: each path is checked, and made through no link"
OWN = "files of envd's own, not of a tree"
REAL = "goes into what lstat says is a directory, of a tree at rest, and follows no link at its end"
INSIDE = "runs in the sandbox, which shows nothing else"
PROJECT = "the user's own project, and a copy that nothing foreign has been in"

# file:function -> (names, why)
ALLOWED: dict[str, tuple[str, str]] = {
    "engine/ecosystems/debian/base.py:_skeleton": ("chmod mkdir symlink_to write_text", NEW),
    "engine/ecosystems/debian/bytecode.py:compile_again": ("mkdir write_bytes", OWN),
    "engine/ecosystems/conda/builder.py:_linked": ("mkdir", NEW),
    "engine/ecosystems/conda/link.py:link": ("mkdir rmtree", INSIDE),
    "engine/ecosystems/conda/link.py:_json": ("read_text", INSIDE),
    "engine/ecosystems/conda/link.py:_check_paths": ("read_text", INSIDE),
    "engine/ecosystems/cuda/builder.py:build_links": ("symlink_to", NEW),
    "engine/realise/context.py:BuildContext.new_upper": ("chmod mkdir", NEW),
    "engine/ecosystems/debian/debs.py:bring": ("mkdir", NEW),
    "engine/ecosystems/debian/debs.py:_link": ("copyfile hardlink_to", OWN),
    "engine/ecosystems/steps/dev.py:build_services": ("mkdir", NEW),
    "engine/realise/group.py:_merge": ("copystat link mkdir scandir unlink", REAL),
    "engine/realise/handed.py:handed": ("chmod mkdir mkfifo unlink", OWN),
    "engine/realise/handed.py:_serve": ("open", OWN),
    "engine/ecosystems/images/http.py:build": ("chmod copyfile", NEW),
    "engine/ecosystems/images/image_files.py:_Copying.take": ("mkdir", ARCHIVE),
    "engine/ecosystems/images/image_files.py:_Copying._take_file": ("mkfifo symlink_to", ARCHIVE),
    "engine/ecosystems/images/image_files.py:build": ("chmod mkdir", NEW),
    "engine/ecosystems/images/image_files.py:_fill": ("link open", ARCHIVE),
    "engine/ecosystems/julia/builder.py:build": ("symlink_to utime", REAL),
    "engine/ecosystems/julia/builder.py:build_environment": ("chmod write_text", NEW),
    "engine/ecosystems/steps/login.py:_activation": ("mkdir", NEW),
    "engine/ecosystems/steps/login.py:_append": ("chmod chown write_text", NEW),
    "engine/ecosystems/steps/login.py:_write": ("chmod write_text", NEW),
    "engine/realise/over.py:write": ("chmod write_text", NEW),
    "engine/realise/over.py:link": ("symlink_to unlink", NEW),
    "engine/realise/over.py:_place": ("chmod chown mkdir", NEW),
    "engine/realise/placed.py:_copy_attributes": ("setxattr", REAL),
    "engine/realise/placed.py:_Writer.run": ("chmod mkdir utime", NEW),
    "engine/realise/placed.py:_Writer._tree": ("scandir", REAL),
    "engine/realise/placed.py:_Writer._make": ("chmod chown mkdir", NEW),
    "engine/realise/placed.py:_Writer._copy": ("chmod copyfile lchown link mknod symlink unlink utime", REAL),
    "engine/realise/places.py:make": ("chmod mkdir", NEW),
    "engine/ecosystems/r/builder.py:build": ("mkdir", NEW),
    "engine/realise/script.py:write": ("chmod mkdir touch write_bytes", NEW),
    "engine/realise/script.py:failure": ("open", "a mount point of its own in the sandbox: stays a file"),
    "engine/ecosystems/python/sdist.py:build": ("mkdir", NEW),
    "engine/ecosystems/steps/services.py:finish": ("chmod rglob", NEW),
    "engine/ecosystems/steps/services.py:write": ("chmod mkdir write_text", NEW),
    "engine/realise/snapshots.py:snapshot": ("copyfile copymode copytree", PROJECT),
    "engine/realise/snapshots.py:_normalise": ("chmod chown iterdir utime", PROJECT),
    "engine/realise/tars.py:_member": ("chmod hardlink_to open symlink_to unlink utime", ARCHIVE),
    "engine/ecosystems/tools/builder.py:build": ("chmod symlink_to write_text", NEW),
    "engine/ecosystems/vscode/builder.py:build_index": ("chmod symlink_to write_text", NEW),
    "engine/ecosystems/python/wheel.py:unpack": ("open symlink_to unlink", OWN),
    "engine/realise/zips.py:extract": ("chmod open unlink", ARCHIVE),
    "engine/realise/sandbox.py:_far_owner": ("read_text", "/proc"),
    "engine/realise/spawn.py:_filter_file": ("copyfile", OWN),
    "engine/realise/sandbox.py:run": ("mkdir", NEW),
    "engine/realise/overlays.py:options": ("mkdir symlink_to unlink", OWN),
    "engine/realise/overlays.py:check": ("mkdir", NEW),
    "engine/realise/overlays.py:_remove_trial": ("rmdir unlink", NEW),
    "engine/realise/overlays.py:_file_system": ("read_text", "/proc"),
    "engine/realise/merged.py:holds_something": ("iterdir", "a layer's own /tmp or /run, when it is no link"),
    "engine/realise/merged.py:clean": ("glob rmtree unlink", OWN),
    "engine/realise/jail.py:run": ("mkdir rmtree", OWN),
    "engine/realise/jail.py:ask": ("mkdir", OWN),
    "engine/realise/jail.py:_asked": ("mkdir", NEW),
    "engine/realise/jail.py:_write_accounts": ("write_text", NEW),
    "engine/realise/jail.py:_programs": ("symlink_to", NEW),
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
    assert not new, "use engine.realise.confined, or say in ALLOWED why not:\n" + "\n".join(new)
    allowed = {(place, what) for place, (names, _) in ALLOWED.items() for what in names.split()}
    assert sorted(allowed - needed) == [], "no longer needed"


@pytest.mark.parametrize(
    "line",
    [
        "for p in upper.rglob('*'): pass",
        "shutil.rmtree(upper / 'var')",
        "(upper / 'x').write_text('')",
        "open(upper / 'x', 'w')",
        "os.chmod(upper, 0)",
        "[p.unlink() for p in tree]",
        "map(Path.unlink, tree)",
        "from shutil import rmtree",
        "from shutil import rmtree as r",
        "getattr(upper, 'glob')('*')",
        "with path.open() as file: pass",
        "os.walk(upper)",
        "path.symlink_to('x')",
        "remove = os.remove",
        "class A:\n        def f(self): self.upper.iterdir()",
        "lambda: os.scandir(upper)",
    ],
)
def test_a_careless_line_is_found(line: str) -> None:
    found = list(careless(f"def build(upper):\n    {line}\n"))
    assert found and all(function.startswith("build") for function, _, _ in found)


def test_a_careful_line_is_none() -> None:
    assert not list(
        careless(
            "def build(upper):\n    confined.remove(upper, 'x')\n    for p in confined.walk(upper): pass\n"
            "    glob = 1\n    'glob it'\n    x.lstat()\n"
        )
    )
