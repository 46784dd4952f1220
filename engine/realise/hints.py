"""What a failed build of foreign code lacked, by what compilers and build systems say of it.

Words are those of GCC, distutils and setuptools, CMake, Meson, Autoconf and R; headers are looked
up in a table of those that packages of the Python index and of CRAN commonly want.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# A program that cannot be started -> the Debian packages that have it.
_PROGRAMS = {
    "gcc": ("gcc", "libc6-dev"),
    "cc": ("gcc", "libc6-dev"),
    "c++": ("g++",),
    "g++": ("g++",),
    "clang": ("clang",),
    "clang++": ("clang",),
    "gfortran": ("gfortran",),
    "make": ("make",),
    "cmake": ("cmake",),
    "ninja": ("ninja-build",),
    "pkg-config": ("pkg-config",),
    "pkgconf": ("pkg-config",),
    "swig": ("swig",),
    "git": ("git",),
    "nvcc": (),
    "pg_config": ("libpq-dev",),
    "mysql_config": ("default-libmysqlclient-dev",),
    "mariadb_config": ("libmariadb-dev",),
    "krb5-config": ("libkrb5-dev",),
    "curl-config": ("libcurl4-openssl-dev",),
    "gdal-config": ("libgdal-dev",),
    "geos-config": ("libgeos-dev",),
    "xml2-config": ("libxml2-dev",),
    "nc-config": ("libnetcdf-dev",),
    "xslt-config": ("libxslt1-dev",),
    "llvm-config": ("llvm-dev",),
    "autoconf": ("autoconf",),
    "automake": ("automake",),
    "libtoolize": ("libtool",),
    "bison": ("bison",),
    "flex": ("flex",),
    "protoc": ("protobuf-compiler",),
    "unzip": ("unzip",),
    "patch": ("patch",),
}
_HEADERS = {
    "Python.h": ("python3-dev",),
    "ffi.h": ("libffi-dev",),
    "openssl/": ("libssl-dev",),
    "libpq-fe.h": ("libpq-dev",),
    "mysql.h": ("default-libmysqlclient-dev",),
    "mysql/": ("default-libmysqlclient-dev",),
    "zlib.h": ("zlib1g-dev",),
    "bzlib.h": ("libbz2-dev",),
    "lzma.h": ("liblzma-dev",),
    "zstd.h": ("libzstd-dev",),
    "lz4.h": ("liblz4-dev",),
    "snappy": ("libsnappy-dev",),
    "jpeglib.h": ("libjpeg-dev",),
    "png.h": ("libpng-dev",),
    "tiff": ("libtiff-dev",),
    "webp/": ("libwebp-dev",),
    "ft2build.h": ("libfreetype-dev",),
    "libxml/": ("libxml2-dev",),
    "libxslt/": ("libxslt1-dev",),
    "sqlite3.h": ("libsqlite3-dev",),
    "curl/": ("libcurl4-openssl-dev",),
    "yaml.h": ("libyaml-dev",),
    "hdf5.h": ("libhdf5-dev",),
    "netcdf.h": ("libnetcdf-dev",),
    "gdal.h": ("libgdal-dev",),
    "geos_c.h": ("libgeos-dev",),
    "proj.h": ("libproj-dev",),
    "gmp.h": ("libgmp-dev",),
    "mpfr.h": ("libmpfr-dev",),
    "mpc.h": ("libmpc-dev",),
    "portaudio.h": ("portaudio19-dev",),
    "sndfile.h": ("libsndfile1-dev",),
    "alsa/": ("libasound2-dev",),
    "uuid/": ("uuid-dev",),
    "cairo.h": ("libcairo2-dev",),
    "glib.h": ("libglib2.0-dev",),
    "X11/": ("libx11-dev",),
    "GL/gl": ("libgl-dev",),
    "ldap.h": ("libldap2-dev",),
    "lber.h": ("libldap2-dev",),
    "sasl/": ("libsasl2-dev",),
    "gssapi": ("libkrb5-dev",),
    "krb5.h": ("libkrb5-dev",),
    "libusb.h": ("libusb-1.0-0-dev",),
    "pcap.h": ("libpcap-dev",),
    "readline/": ("libreadline-dev",),
    "ncurses.h": ("libncurses-dev",),
    "curses.h": ("libncurses-dev",),
    "fftw3.h": ("libfftw3-dev",),
    "cblas.h": ("libopenblas-dev",),
    "lapacke.h": ("liblapacke-dev",),
    "zmq.h": ("libzmq3-dev",),
    "sodium.h": ("libsodium-dev",),
    "event.h": ("libevent-dev",),
    "memcached.h": ("libmemcached-dev",),
    "re2/": ("libre2-dev",),
    "systemd/": ("libsystemd-dev",),
    "dbus/": ("libdbus-1-dev",),
    "acl/": ("libacl1-dev",),
    "sys/acl.h": ("libacl1-dev",),
    "attr/": ("libattr1-dev",),
    "libavcodec/": ("libavcodec-dev",),
    "libavformat/": ("libavformat-dev",),
    "mpi.h": ("libopenmpi-dev",),
    "Eigen/": ("libeigen3-dev",),
    "boost/": ("libboost-dev",),
    "numa.h": ("libnuma-dev",),
    "sql.h": ("unixodbc-dev",),
    "sqlext.h": ("unixodbc-dev",),
    "limits.h": ("libc6-dev",),
    "stdio.h": ("libc6-dev",),
    "stdlib.h": ("libc6-dev",),
    "gsl/": ("libgsl-dev",),
    "cups/": ("libcups2-dev",),
    "harfbuzz": ("libharfbuzz-dev",),
    "fribidi": ("libfribidi-dev",),
    "git2.h": ("libgit2-dev",),
    "libssh2.h": ("libssh2-1-dev",),
    "magic.h": ("libmagic-dev",),
    "pcre2.h": ("libpcre2-dev",),
}
_TOOLCHAINS = {
    "cargo": "install.rust()",
    "rustc": "install.rust()",
    "go": "install.go()",
    "node": "install.nodejs()",
    "npm": "install.nodejs()",
}

_NAME = r"(?:[\w./-]*/)?(?:x86_64-linux-gnu-)?([a-zA-Z][\w+.-]*?)(?:-\d+)?"
_NO_PROGRAM = (
    re.compile(rf"No such file or directory: b?['\"]{_NAME}['\"]"),
    re.compile(rf"command ['\"]?{_NAME}['\"]? failed: (?:No such file|.*Errno 2)"),
    re.compile(rf"unable to execute ['\"]?{_NAME}['\"]?: No such file"),
    re.compile(rf"(?:^|[\s:'\"`]){_NAME}['\"`]?: (?:command )?not found"),
    re.compile(rf"^Error: {_NAME} (?:executable )?not found"),
    re.compile(rf"\b{_NAME} executable (?:was )?not found"),
    re.compile(rf"Program ['\"]?{_NAME}['\"]? not found"),
    re.compile(rf"can't find (?:the )?{_NAME} compiler", re.IGNORECASE),
)
_NO_HEADER = re.compile(r"(?:fatal )?error: ['\"]?([\w./+-]+\.h(?:pp|h)?|Eigen/\w+)['\"]?: No such file")
# What build systems say of a language's compiler, as the program that it would be.
_NO_COMPILER = (
    (re.compile(r"No CMAKE_CXX_COMPILER could be found|Unknown compiler\(s\): \[\[?'(?:c\+\+|g\+\+)"), "g++"),
    (
        re.compile(
            r"No CMAKE_C_COMPILER could be found|Unknown compiler\(s\): \[\[?'(?:cc|gcc|icc)"
            r"|no acceptable C compiler found|C compiler cannot create executables"
        ),
        "gcc",
    ),
    (
        re.compile(r"No CMAKE_Fortran_COMPILER could be found|Unknown compiler\(s\): \[\[?'gfortran"),
        "gfortran",
    ),
    (re.compile(r"CMake must be installed|Problem with the CMake installation"), "cmake"),
    (re.compile(r"can't find Rust compiler|Cargo, the Rust package manager"), "cargo"),
)


def advice(lines: Iterable[str], *, headers_of_python: bool = False) -> str:
    """What to write into build.envd for a build that failed with `lines`, as the end of a sentence
    ("; it needs …"), or "" when they name nothing that is lacking.

    With `headers_of_python` the Python is the distribution's: whoever compiles for it wants Python.h
    next, in a package of its own.
    """
    programs, packages, unknown = _lacking(lines)
    calls = list(dict.fromkeys(_TOOLCHAINS[p] for p in programs if p in _TOOLCHAINS))
    for program in programs:
        packages += _PROGRAMS.get(program, ())
    if headers_of_python and {"gcc", "cc", "g++", "c++", "clang"} & set(programs):
        # it depends on libc6-dev
        packages = [p for p in packages if p != "libc6-dev"] + ["python3-dev"]
    if packages:
        names = ", ".join(f'"{p}"' for p in dict.fromkeys(packages))
        calls.insert(0, f"install.apt_packages([{names}])")
    if calls:
        what = [*dict.fromkeys(programs), *(["headers"] if not programs else [])]
        return f"; it lacks {_and(what)}: add {_and(calls)}"
    if unknown:
        return f"; it lacks {_and(unknown)}: add the package that has it with install.apt_packages"
    return ""


def _lacking(lines: Iterable[str]) -> tuple[list[str], list[str], list[str]]:
    """Programs, packages of headers, and headers that are in no table."""
    programs: list[str] = []
    packages: list[str] = []
    unknown: list[str] = []
    for line in lines:
        for pattern in _NO_PROGRAM:
            match = pattern.search(line)
            if match and match[1] in {**_PROGRAMS, **_TOOLCHAINS}:
                programs.append(match[1])
        programs += [name for pattern, name in _NO_COMPILER if pattern.search(line)]
        if header := _NO_HEADER.search(line):
            names = next(
                (
                    found
                    for start, found in _HEADERS.items()
                    if header[1] == start
                    or (start[-2:] != ".h" and header[1].startswith(start))
                    or header[1].endswith(f"/{start}")
                ),
                None,
            )
            packages += names or ()
            if names is None:
                unknown.append(header[1])
    return list(dict.fromkeys(programs)), packages, list(dict.fromkeys(unknown))


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
