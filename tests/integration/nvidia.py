"""A signed apt repository laid out as NVIDIA's for one system: several CUDA releases side by side,
under the package names, version strings, dependencies and paths of the real ones, with its key
beside the packages. The libraries are small ones that say their CUDA's version."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.integration import archive

# Toolkit release -> component's package (without "-11-2") -> its version, as NVIDIA's have them.
RELEASES: Mapping[str, Mapping[str, str]] = {
    "11.2.0": {
        "cuda-cudart": "11.2.72-1",
        "cuda-nvrtc": "11.2.67-1",
        "libcublas": "11.3.1.68-1",
        "libcufft": "10.4.0.72-1",
        "libcurand": "10.2.3.68-1",
        "libcusolver": "11.0.2.68-1",
        "libcusparse": "11.3.1.68-1",
        "libnpp": "11.2.1.68-1",
        "libnvjpeg": "11.3.1.68-1",
        "cuda-nvtx": "11.2.67-1",
        "cuda-cupti": "11.2.67-1",
        "cuda-nvcc": "11.2.67-1",
    },
    "11.2.2": {
        "cuda-cudart": "11.2.152-1",
        "cuda-nvrtc": "11.2.152-1",
        "libcublas": "11.4.1.1043-1",
        "libcufft": "10.4.1.152-1",
        "libcurand": "10.2.3.152-1",
        "libcusolver": "11.1.0.152-1",
        "libcusparse": "11.4.1.1152-1",
        "libnpp": "11.3.2.152-1",
        "libnvjpeg": "11.4.0.152-1",
        "cuda-nvtx": "11.2.152-1",
        "cuda-cupti": "11.2.152-1",
        "cuda-nvcc": "11.2.152-1",
    },
    "11.8.0": {
        "cuda-cudart": "11.8.89-1",
        "cuda-nvrtc": "11.8.89-1",
        "libcublas": "11.11.3.6-1",
        "libcufft": "10.9.0.58-1",
        "libcurand": "10.3.0.86-1",
        "libcusolver": "11.4.1.48-1",
        "libcusparse": "11.7.5.86-1",
        "libnpp": "11.8.0.86-1",
        "libnvjpeg": "11.9.0.86-1",
        "cuda-nvtx": "11.8.86-1",
        "cuda-cupti": "11.8.87-1",
        "cuda-nvcc": "11.8.89-1",
        "libcufile": "1.4.0.31-1",
        "cuda-cccl": "11.8.89-1",
    },
    "12.9.0": {
        "cuda-cudart": "12.9.37-1",
        "cuda-nvrtc": "12.9.41-1",
        "libnvjitlink": "12.9.41-1",
        "libcublas": "12.9.0.13-1",
        "cuda-nvcc": "12.9.41-1",
    },
    "12.9.1": {
        "cuda-cudart": "12.9.79-1",
        "cuda-nvrtc": "12.9.86-1",
        "libnvjitlink": "12.9.86-1",
        "libcublas": "12.9.1.4-1",
        "cuda-nvcc": "12.9.86-1",
    },
    "13.0.0": {
        "cuda-cudart": "13.0.48-1",
        "cuda-nvrtc": "13.0.48-1",
        "libnvjitlink": "13.0.39-1",
        "libcublas": "13.0.0.19-1",
        "cuda-nvcc": "13.0.48-1",
        "libnvvm": "13.0.48-1",
    },
}
# Released apart from the toolkit: package -> versions.
APART: Mapping[str, Sequence[str]] = {
    "libcudnn8": (
        "8.0.5.39-1+cuda11.1",
        "8.1.0.77-1+cuda11.2",
        "8.1.1.33-1+cuda11.2",
        "8.6.0.163-1+cuda11.8",
        "8.9.7.29-1+cuda11.8",
        "8.9.7.29-1+cuda12.2",
    ),
    "libcudnn9-cuda-11": ("9.10.2.21-1",),
    "libcudnn9-cuda-12": ("9.1.0.70-1", "9.12.0.46-1"),
    "libcudnn9-cuda-13": ("9.12.0.46-1",),
    "libnccl2": ("2.8.4-1+cuda11.2", "2.15.5-1+cuda11.8", "2.27.7-1+cuda12.9", "2.27.7-1+cuda13.0"),
}
# Library -> its soname for CUDA 11: what TensorFlow 2.9 opens, with cuDNN's.
SONAMES = {
    "cuda-cudart": "libcudart.so.11.0",
    "libcublas": "libcublas.so.11",
    "libcufft": "libcufft.so.10",
    "libcurand": "libcurand.so.10",
    "libcusolver": "libcusolver.so.11",
    "libcusparse": "libcusparse.so.11",
}
LOADED_BY_TENSORFLOW = (*SONAMES.values(), "libcublasLt.so.11", "libcudnn.so.8")


def make(directory: Path, signer: archive.Signer) -> None:
    """Fill `directory` with the repository, signed, its key beside it."""
    objects = directory / ".objects"
    objects.mkdir()
    archive.make_deb(
        directory,
        "cuda-toolkit-config-common",
        "13.0.48-1",
        {"etc/ld.so.conf.d/000_cuda.conf": b"/usr/local/cuda/targets/x86_64-linux/lib\n"},
    )
    for release, parts in RELEASES.items():
        _toolkit(directory, objects, release, parts)
    for package, versions in APART.items():
        for version in versions:
            soname = "libnccl.so.2" if package == "libnccl2" else f"libcudnn.so.{package[8]}"
            _deb(
                directory,
                package,
                version,
                {f"usr/lib/x86_64-linux-gnu/{soname}": _library(objects, soname, 0)},
                scripts={"postinst": "ldconfig"},
            )
    for path in objects.iterdir():
        path.unlink()
    objects.rmdir()
    signer.sign(directory)
    armoured = signer.armoured
    (directory / f"{signer.fingerprint[-8:].lower()}.pub").write_bytes(armoured)


def _toolkit(directory: Path, objects: Path, release: str, parts: Mapping[str, str]) -> None:
    short = ".".join(release.split(".")[:2])
    major, dashed = short.split(".")[0], short.replace(".", "-")
    place = f"usr/local/cuda-{short}"
    libraries = f"/usr/local/cuda-{major}/targets/x86_64-linux/lib\n"
    common, of_major = f"cuda-toolkit-{dashed}-config-common", f"cuda-toolkit-{major}-config-common"
    if not list(directory.glob(f"{of_major}_*")):
        _deb(
            directory,
            of_major,
            f"{short}.48-1",
            {f"etc/ld.so.conf.d/988_cuda-{major}.conf": libraries.encode()},
        )
    priority = short.replace(".", "")
    _deb(
        directory,
        common,
        parts["cuda-cudart"],
        {f"{place}/version.json": b"{}\n"},
        depends=[of_major, "cuda-toolkit-config-common"],
        scripts={
            "postinst": "\n".join(
                f"update-alternatives --install /usr/local/{name} {name} /{place} {priority}"
                for name in ("cuda", f"cuda-{major}")
            )
        },
    )
    number = 1000 * int(major) + 10 * int(short.split(".")[1])
    for name, version in parts.items():
        soname = SONAMES.get(name, f"{name}.so.{major}")
        names = [soname, f"libcublasLt.so.{major}"] if name == "libcublas" else [soname]
        files: dict[str, bytes | str] = {
            f"{place}/targets/x86_64-linux/lib/{n}": _library(objects, n, number) for n in names
        }
        if name == "cuda-cudart":
            files[f"{place}/lib64"] = "targets/x86_64-linux/lib"
        _deb(
            directory, f"{name}-{dashed}", version, files, depends=[common], scripts={"postinst": "ldconfig"}
        )

    def meta(name: str, below: Sequence[str]) -> None:
        _deb(directory, f"{name}-{dashed}", f"{release}-1", {}, depends=below)

    def at_least(*names: str) -> list[str]:
        return [f"{n}-{dashed} (>= {parts[n].partition('-')[0]})" for n in names if n in parts]

    tools = ("cuda-cupti", "cuda-nvtx")
    compiler = ("cuda-nvcc", "cuda-cccl", "libnvvm")
    meta("cuda-libraries", at_least(*(n for n in parts if n not in (*tools, *compiler))))
    meta("cuda-command-line-tools", at_least(*tools))
    meta("cuda-compiler", at_least(*compiler))
    meta(
        "cuda-toolkit",
        [
            f"{n}-{dashed} (>= {release})"
            for n in ("cuda-libraries", "cuda-command-line-tools", "cuda-compiler")
        ],
    )


def _deb(
    directory: Path,
    name: str,
    version: str,
    files: Mapping[str, bytes | str],
    *,
    depends: Sequence[str] = (),
    scripts: Mapping[str, str] = {},
) -> None:
    archive.make_deb(directory, name, version, files, depends=depends, scripts=scripts)
    subprocess.run(["rm", "-rf", str(directory / f".{name}")], check=True)


def _library(objects: Path, soname: str, number: int) -> bytes:
    """A real shared library whose cudaRuntimeGetVersion gives `number` (11020)."""
    made = objects / f"{soname}-{number}"
    if not made.exists():
        code = f"int cudaRuntimeGetVersion(int *v) {{ *v = {number}; return 0; }}\n"
        subprocess.run(
            ["gcc", "-shared", "-fPIC", "-nostdlib", f"-Wl,-soname,{soname}", "-xc", "-", "-o", str(made)],
            input=code.encode(),
            check=True,
            capture_output=True,
        )
    return made.read_bytes()


@dataclass(frozen=True)
class Nvidia:
    """A served repository: its URL, and what signs it."""

    url: str
    signer: archive.Signer

    @property
    def settings(self) -> dict[str, str]:
        """The environment for envd: the key is fetched and known by its fingerprint."""
        return {"ENVD_CUDA_APT_REPO": self.url, "ENVD_CUDA_APT_FINGERPRINT": self.signer.fingerprint}
