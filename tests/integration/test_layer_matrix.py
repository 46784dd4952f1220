"""Layers of every kind upon bases that have something in their way: BuildKit's COPY of the same
files is what they are compared with."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.core.derivation import Derivation, Fetch, Input
from engine.core.oci_model import ImageConfig
from engine.ecosystems.images import files, http, image_files
from engine.ecosystems.julia import builder as julia
from engine.ecosystems.python import wheel
from engine.ecosystems.python.interpreter import Interpreter
from engine.ecosystems.steps import services, shell
from engine.ecosystems.tools import builder as tool
from engine.errors import BuildError
from engine.lock.packages import Layer, LockedFile, WebFile, Wheel
from engine.oci.assemble import assemble
from engine.plan.plan import Plan
from engine.realise import group, placed
from engine.realise.context import BuildContext
from engine.realise.scheduler import realise
from engine.realise.selection import Selection
from grammar.environment import Copy, Environment, GitConfig, Jupyter
from store import Store
from tests.integration import buildkit, tiny
from tests.integration.envd import docker

BASE = "test-base"


@dataclass(frozen=True)
class Kind:
    """A kind of layer: how it is derived over a base, a directory that it lands in, and a file that
    it has there."""

    derive: Callable[[Derivation], Derivation]
    directory: str
    file: str
    target: placed.Target | None = None


@dataclass(frozen=True)
class Bench:
    """What all cases share."""

    store: Store
    kinds: Mapping[str, Kind]
    sources: Mapping[str, Selection]
    host: str

    def base(self, name: str, entries: Sequence[Entry]) -> Derivation:
        """A base with `entries`, made by `_make_base`."""
        rows = [list(entry) for entry in entries]
        return Derivation(BASE, name, 1, (), {"entries": rows})

    def realise(self, stack: Sequence[Derivation]) -> list[str]:
        plan = Plan((), ImageConfig(), self.sources, ())
        builders = {**plan.builders, BASE: _make_base}
        outputs = realise(stack, self.store, builders)
        return [outputs[layer.drv_id] for layer in stack]

    def stack(self, base: Derivation, names: Sequence[str]) -> list[Derivation]:
        made = [base]
        for name in names:
            kind = self.kinds[name]
            raw = kind.derive(base)
            overlay = raw.kind == shell.KIND
            made.append(placed.derivation(raw, made, kind.target, overlay=overlay))
        return made

    def load(self, ids: Sequence[str], tag: str) -> None:
        found = [item for i in ids if (item := self.store.get(i)) is not None]
        image = assemble(list({item.id: item for item in found}.values()), ImageConfig(cmd=("x",)))
        tiny.load(self.store, image, tag, self.host)


Entry = tuple[str, str, int, int, str]  # path, "d", "f" or "l", mode, owner and group, link


def _make_base(context: BuildContext) -> Path:
    upper = context.scratch / "upper"
    upper.mkdir()
    upper.chmod(0o755)
    for name, kind, mode, owner, link in context.parameters["entries"]:
        path = upper / name
        for parent in reversed(path.relative_to(upper).parents):
            if not (upper / parent).exists():
                (upper / parent).mkdir(mode=0o755)
        if kind == "l":
            path.symlink_to(link)
            continue
        if kind == "d":
            path.mkdir(exist_ok=True)
        else:
            path.write_text("base\n")
        shutil.chown(path, owner, owner)
        path.chmod(mode)
    return upper


# -- the eight kinds --------------------------------------------------------------------------


def _tar(entries: Mapping[str, tuple[int, int, int]], prefix: str = "") -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, (mode, uid, gid) in entries.items():
            member = tarfile.TarInfo(prefix + name)
            content = f"{name}\n".encode()
            member.size, member.mode, member.uid, member.gid = len(content), mode, uid, gid
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


def _wheel(name: str, contents: Mapping[str, str]) -> bytes:
    info = f"{name}-1.0.dist-info"
    held = {
        **contents,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name}-run = {name}:main\n",
    }
    rows = []
    for path, text in held.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        rows.append(f"{path},sha256={digest},{len(text.encode())}\n")
    held[f"{info}/RECORD"] = "".join([*rows, f"{info}/RECORD,,\n"])
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for path, text in held.items():
            archive.writestr(path, text)
    return made.getvalue()


def _keep(store: Store, name: str, content: bytes) -> LockedFile:
    """A file as if it had been fetched."""
    with store.blob_writer() as writer:
        writer.write(content)
        writer.commit()
    return LockedFile(name, "http://127.0.0.1:9/none", hashlib.sha256(content).hexdigest(), len(content))


def _kinds(store: Store, project: Path, sources: dict[str, Selection]) -> dict[str, Kind]:
    project.mkdir()
    (project / "tool.sh").write_text("#!/bin/sh\n")
    (project / "tool.sh").chmod(0o755)
    copy = Copy("tool.sh", "/srv/files/tool.sh")
    copied = files.derivation(copy, project)
    sources[copied.parameters["content"]] = Selection(str(project), "tool.sh")

    layer = _keep(store, "layer", _tar({"srv/thing": (0o640, 7, 8)}))
    taken = Copy("/srv/thing", "/srv/image/thing", "image")
    rows = [Layer("layer", "", layer, diff_id="", media_type="")]

    data = WebFile("data", "", _keep(store, "data.bin", b"data"))
    release = _keep(
        store, "tool.tar.gz", _tar({"bin/x": (0o755, 0, 0), "share/doc/x": (0o644, 0, 0)}, "tool-1.0/")
    )
    layout = tool.Layout(
        "tool-1.0",
        (tool.Unpack(release, "/opt/tool", 1),),
        links={"/usr/local/bin/x": "/opt/tool/bin/x"},
        files={"/etc/tool/settings": "a = 1\n"},
    )
    tree = _keep(store, "Pkg.tar.gz", _tar({"Project.toml": (0o644, 0, 0), "src/Pkg.jl": (0o644, 0, 0)}))
    package = f"{julia.DEPOT}/packages/Pkg/abc"
    demo = Wheel(
        "demo",
        "1.0",
        _keep(store, "demo-1.0-py3-none-any.whl", _wheel("demo", {"demo/__init__.py": "def main(): ...\n"})),
    )
    python = Interpreter("3.11")
    started = services.derivation(Environment(jupyter=Jupyter()), "/")
    assert started is not None
    return {
        "files": Kind(
            lambda _: copied, "srv/files", "srv/files/tool.sh", files.target_of(copy, project / "tool.sh")
        ),
        "image": Kind(
            lambda _: image_files.derivation(taken, rows),
            "srv/image",
            "srv/image/thing",
            image_files.target_of(taken),
        ),
        "http": Kind(
            lambda _: http.derivation(data, data.file.url),
            http.DIRECTORY.lstrip("/"),
            f"{http.DIRECTORY.lstrip('/')}/data.bin",
        ),
        "tool": Kind(lambda _: tool.derivation(layout), "opt/tool", "opt/tool/bin/x"),
        "archive": Kind(
            lambda _: Derivation(
                julia.TREE,
                "Pkg.jl-1.0",
                1,
                (Input("file", Fetch("Pkg.tar.gz", "http://127.0.0.1:9/", tree.sha256)),),
                {"place": package},
            ),
            julia.DEPOT,
            f"{package}/Project.toml",
        ),
        "wheel": Kind(
            lambda _: wheel.derivation(demo, python),
            python.site.lstrip("/"),
            f"{python.site.lstrip('/')}/demo/__init__.py",
        ),
        "shell": Kind(
            lambda base: shell.derivation("bash", GitConfig("Ann", "a@example.org"), "3.11", [base]),
            "root",
            "root/.bashrc",
        ),
        "services": Kind(lambda _: started, "etc/envd", "etc/envd/services/jupyter/run"),
    }


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, docker_engine: str) -> Iterator[Bench]:
    directory = tmp_path_factory.mktemp("matrix")
    store = Store.open(directory / "store")
    sources: dict[str, Selection] = {}
    kinds = _kinds(store, directory / "project", sources)
    assert len(kinds) == 8
    yield Bench(store, kinds, sources, docker_engine)
    store.close()


# -- BuildKit's side --------------------------------------------------------------------------


def _dockerfile(bench: Bench, base: str, names: Sequence[str], context: Path) -> None:
    """The same files, as the kinds make them upon a base with nothing in the way, for COPY."""
    lines = [f"FROM {base}"]
    plain = bench.base("plain", [("root", "d", 0o700, 0, "")])
    for name in names:
        stack = bench.stack(plain, [name])
        _, made = bench.realise(stack)
        root = bench.store.tree(made)
        kind = bench.kinds[name]
        for path in sorted(root.rglob("*")):
            if path.is_dir() and not path.is_symlink():
                continue
            place = path.relative_to(root)
            inside = context / name / place
            info = path.lstat()
            if path.is_symlink():
                # COPY follows a link that it is given; of a directory it takes them as they are
                inside = context / name / "links" / str(len(lines)) / place.name
                inside.parent.mkdir(parents=True)
                inside.symlink_to(path.readlink())
                lines.append(f"COPY {inside.parent.relative_to(context)}/ /{place.parent}/")
                continue
            inside.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, inside)
            inside.chmod(info.st_mode & 0o7777)
            to = place if kind.target is not None else f"{place.parent}/"
            lines.append(f"COPY --chown={info.st_uid}:{info.st_gid} {inside.relative_to(context)} /{to}")
    (context / "Dockerfile").write_text("\n".join(lines) + "\n")


def _compare(bench: Bench, entries: Sequence[Entry], names: Sequence[str], tmp_path: Path) -> buildkit.Tree:
    """The image of `names` upon a base with `entries`, when BuildKit makes the same of them."""
    root: list[Entry] = [("root", "d", 0o700, 0, "")] if all(e[0] != "root" for e in entries) else []
    base = bench.base("base-under-test", [*root, *entries])
    ids = bench.realise(bench.stack(base, names))
    tag = f"matrix-{hashlib.sha256(json.dumps(list(entries)).encode()).hexdigest()[:12]}"
    bench.load(ids, f"{tag}:ours")
    bench.load(ids[:1], f"{tag}:base")
    _dockerfile(bench, f"{tag}:base", names, tmp_path)
    built = buildkit.build(tmp_path, f"{tag}:copy", bench.host)
    assert built.returncode == 0, built.stderr
    ours, theirs = (buildkit.tree(f"{tag}:{side}", bench.host) for side in ("ours", "copy"))
    docker("rmi", "-f", f"{tag}:ours", f"{tag}:copy", f"{tag}:base", host=bench.host)
    assert ours == theirs
    return ours


# -- the cases --------------------------------------------------------------------------------


def test_links_below_are_followed(bench: Bench, tmp_path: Path) -> None:
    """Absolute and relative ones, and chains of both."""
    entries: list[Entry] = []
    for number, (name, kind) in enumerate(bench.kinds.items()):
        up = "../" * kind.directory.count("/")
        entries.append((f"data/{name}", "d", 0o750, 1000 + number, ""))
        match number % 3:
            case 0:
                entries.append((kind.directory, "l", 0, 0, f"/data/{name}"))
            case 1:
                entries.append((kind.directory, "l", 0, 0, f"{up}data/{name}"))
            case _:
                entries.append((kind.directory, "l", 0, 0, f"{up}hop-{name}"))
                entries.append((f"hop-{name}", "l", 0, 0, f"/data/../data/{name}"))
    made = _compare(bench, entries, list(bench.kinds), tmp_path)
    for name, kind in bench.kinds.items():
        assert made[kind.directory][0] == "l"
        inside = kind.file.removeprefix(kind.directory)
        assert made[f"data/{name}{inside}"][0] == "f"


def test_owners_of_directories_below_stay(bench: Bench, tmp_path: Path) -> None:
    entries = [(kind.directory, "d", 0o755, 1000, "") for kind in bench.kinds.values()]
    made = _compare(bench, entries, list(bench.kinds), tmp_path)
    assert {made[k.directory][2:4] for k in bench.kinds.values()} == {(1000, 1000)}


def test_modes_of_directories_below_stay(bench: Bench, tmp_path: Path) -> None:
    modes = (0o3777, 0o2770, 0o700, 0o1777)
    entries = [
        (kind.directory, "d", modes[number % 4], number % 3, "")
        for number, kind in enumerate(bench.kinds.values())
    ]
    made = _compare(bench, entries, list(bench.kinds), tmp_path)
    assert [made[k.directory][1] for k in bench.kinds.values()] == [modes[n % 4] for n in range(8)]


def test_a_copy_goes_into_a_directory_that_is_there(bench: Bench, tmp_path: Path) -> None:
    """What is copied; for all other kinds a directory in a file's place is an error."""
    names = ("files", "image")
    entries = [(bench.kinds[name].file, "d", 0o2770, 1000, "") for name in names]
    made = _compare(bench, entries, names, tmp_path)
    assert made["srv/files/tool.sh/tool.sh"][0] == made["srv/image/thing/thing"][0] == "f"


@pytest.mark.parametrize("name", ["http", "tool", "archive", "wheel", "shell", "services"])
def test_a_directory_below_a_file_is_one_error(bench: Bench, name: str) -> None:
    kind = bench.kinds[name]
    base = bench.base("base-under-test", [(f"{kind.file}/inner", "f", 0o644, 0, "")])
    stack = bench.stack(base, [name])
    with pytest.raises(BuildError) as caught:
        bench.realise(stack)
    assert str(caught.value).startswith(
        f"{stack[1].name}: it has a file at /{kind.file}, where base-under-test has a directory"
    )


@pytest.mark.parametrize("name", ["files", "image", "http", "tool", "archive", "wheel", "shell", "services"])
def test_a_file_below_a_directory_is_one_error(bench: Bench, name: str, tmp_path: Path) -> None:
    kind = bench.kinds[name]
    base = bench.base("base-under-test", [(kind.directory, "f", 0o644, 0, "")])
    stack = bench.stack(base, [name])
    with pytest.raises(BuildError) as caught:
        bench.realise(stack)
    text = str(caught.value)
    assert f"it needs a directory at /{kind.directory}, where base-under-test has a file" in text
    assert stack[1].name in text and "\n" not in text
    if name == "files":  # BuildKit refuses it too
        ids = bench.realise([base])
        bench.load(ids, "matrix-file:base")
        _dockerfile(bench, "matrix-file:base", [name], tmp_path)
        assert buildkit.build(tmp_path, "matrix-file:copy", bench.host).returncode != 0


# -- two packages -----------------------------------------------------------------------------


def _pair(bench: Bench) -> list[Derivation]:
    contents = {"filer": {"notes": "a file\n"}, "other": {"notes/__init__.py": ""}}
    return [
        wheel.derivation(
            Wheel(name, "1.0", _keep(bench.store, f"{name}-1.0-py3-none-any.whl", _wheel(name, held))),
            Interpreter("3.11"),
        )
        for name, held in contents.items()
    ]


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("turned", [False, True])
def test_wheels_that_disagree_are_named(bench: Bench, grouped: bool, turned: bool) -> None:
    first, second = reversed(_pair(bench)) if turned else _pair(bench)
    base = bench.base("base-under-test", [])
    raws = [first, second]
    if grouped:
        raws = [Derivation(group.KIND, "wheels-00", 1, tuple(Input("layer", d) for d in raws))]
    with pytest.raises(BuildError) as caught:
        bench.realise(placed.stacked([base, *raws], {BASE}, ()))
    text = str(caught.value)
    assert "filer-1.0" in text and "other-1.0" in text and "\n" not in text
    assert "/usr/local/lib/python3.11/dist-packages/notes" in text


def test_a_wheel_that_disagrees_with_one_in_a_group_names_that_one(bench: Bench) -> None:
    first, second = _pair(bench)
    wheels = Derivation(group.KIND, "wheels-00", 1, (Input("layer", first),))
    base = bench.base("base-under-test", [])
    with pytest.raises(BuildError, match=r"filer-1\.0 has a file"):
        bench.realise(placed.stacked([base, wheels, second], {BASE}, ()))


# -- independence -----------------------------------------------------------------------------


def test_a_base_of_other_bytes_makes_no_layer_anew(bench: Bench) -> None:
    """What fits is the raw object; what does not depends on the skeleton alone."""
    entries: list[Entry] = [("srv/files", "d", 0o3777, 0, ""), ("etc/a", "f", 0o644, 0, "")]
    names = ["files", "wheel"]
    first = bench.base("base-under-test", entries)
    second = bench.base("base-under-test", [*entries, ("etc/b", "f", 0o644, 0, "")])
    stacks = [bench.stack(base, names) for base in (first, second)]
    before, after = (bench.realise(stack) for stack in stacks)
    assert before[0] != after[0] and before[1:] == after[1:]
    raws = bench.realise([bench.kinds[name].derive(first) for name in names])
    assert before[2] == raws[1] and before[1] != raws[0]


def test_links_that_go_in_circles_are_one_error(bench: Bench) -> None:
    base = bench.base("base-under-test", [("srv/files", "l", 0, 0, "x"), ("srv/x", "l", 0, 0, "files")])
    with pytest.raises(BuildError, match=r"copy-tool\.sh: symbolic links of the layers below go round"):
        bench.realise(bench.stack(base, ["files"]))
