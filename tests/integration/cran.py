"""A CRAN-like repository of R source packages, in the formats of R's own tools.

What `R CMD build` and tools::write_PACKAGES write: NAME_VERSION.tar.gz below src/contrib, and the
index PACKAGES beside them.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

_INDEXED = ("Package", "Version", "Depends", "Imports", "LinkingTo", "License", "NeedsCompilation")


def add(
    repository: Path, name: str, version: str, files: Mapping[str, str], fields: Mapping[str, str]
) -> Path:
    """Put a package into the repository: the sources, and its paragraph in the index."""
    about = {
        "Package": name,
        "Version": version,
        "Title": "A Package of the Tests",
        "Description": "Made by tests.",
        "License": "MIT",
        "Author": "Tests",
        "Maintainer": "Tests <tests@example.org>",
        "NeedsCompilation": "no",
        **fields,
        "Packaged": "2023-05-01 12:00:00 UTC; tests",
    }
    description = "".join(f"{key}: {value}\n" for key, value in about.items())
    contrib = repository / "src/contrib"
    contrib.mkdir(parents=True, exist_ok=True)
    path = contrib / f"{name}_{version}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for member, text in {"DESCRIPTION": description, **files}.items():
            data = text.encode()
            info = tarfile.TarInfo(f"{name}/{member}")
            info.size, info.mtime = len(data), 1682942400
            info.mode = 0o755 if member == "configure" else 0o644
            archive.addfile(info, io.BytesIO(data))
    index = contrib / "PACKAGES"
    paragraph = "".join(f"{k}: {about[k]}\n" for k in _INDEXED if k in about)
    paragraph += f"MD5sum: {hashlib.md5(path.read_bytes()).hexdigest()}\n"
    old = index.read_text() + "\n" if index.exists() else ""
    index.write_text(old + paragraph)
    (contrib / "PACKAGES.gz").write_bytes(gzip.compress(index.read_bytes()))
    return path


def help_page(name: str) -> str:
    """An .Rd file."""
    return (
        f"\\name{{{name}}}\\alias{{{name}}}\\title{{{name}}}\\description{{It does.}}\n"
        f"\\usage{{{name}()}}\\examples{{{name}()}}\n"
    )


def make(repository: Path) -> None:
    """`greet` needs `counter` (C code) and `words`; `counter` needs `words`; `words` comes in two
    versions, of which the newer one is for an R that nobody has."""
    for version, depends in (("1.2", "R (>= 3.5)"), ("9.0", "R (>= 99.0)")):
        add(
            repository,
            "words",
            version,
            {
                "NAMESPACE": "export(word)\nexportClasses(Word)\nimport(methods)\n",
                "R/word.R": (
                    'word <- function() "hello"\n'
                    'setClass("Word", representation(text = "character"))\n'
                    'setMethod("show", "Word", function(object) cat(object@text))\n'
                ),
                "man/word.Rd": help_page("word"),
                "data/colours.csv": '"name"\n"red"\n"blue"\n',
                "inst/doc/note.txt": "a note\n",
            },
            {"Depends": depends, "Imports": "methods", "LazyData": "true"},
        )
    add(
        repository,
        "counter",
        "0.1-3",
        {
            "NAMESPACE": "useDynLib(counter, .registration = TRUE)\nexport(count)\nimport(words)\n",
            "R/count.R": "count <- function() .Call(C_count, nchar(word()))\n",
            "man/count.Rd": help_page("count"),
            "src/count.c": (
                "#include <R.h>\n#include <Rinternals.h>\n#include <R_ext/Rdynload.h>\n"
                "static SEXP count(SEXP n) { return ScalarInteger(asInteger(n) * 2); }\n"
                'static const R_CallMethodDef calls[] = {{"C_count", (DL_FUNC)&count, 1}, {0}};\n'
                "void R_init_counter(DllInfo *dll) {\n"
                "    R_registerRoutines(dll, NULL, calls, NULL, NULL);\n"
                "    R_useDynamicSymbols(dll, FALSE);\n}\n"
            ),
            "src/built.c": 'const char *counter_built(void) { return __DATE__ " " __TIME__; }\n',
            # what packages with an autoconf script do: they look around, and leave things behind
            "configure": "#!/bin/sh\necho trace > /var/trace\ntest -d src\n",
        },
        {"Imports": "words (>= 1.0)", "NeedsCompilation": "yes"},
    )
    add(
        repository,
        "greet",
        "2.0.1",
        {
            "NAMESPACE": "export(greet)\nimport(words)\nimport(counter)\nimportFrom(MASS, area)\n",
            "R/greet.R": ("greet <- function(...) paste(word(), count(), round(area(sin, 0, pi), 2))\n"),
            "man/greet.Rd": help_page("greet"),
        },
        {"Depends": "R (>= 4.0), counter (>= 0.1-2)", "Imports": "words (>= 1.1), stats,\n  MASS"},
    )
    _heavy(repository)
    add(repository, "old", "1.0", {"NAMESPACE": ""}, {"Imports": "words (>= 5.0)"})
    add(repository, "lost", "1.0", {"NAMESPACE": ""}, {"Imports": "BiocThing"})
    add(
        repository,
        "broken",
        "1.0",
        {"NAMESPACE": "", "configure": "#!/bin/sh\nexit 3\n"},
        {"SystemRequirements": "libfoo: libfoo-dev (deb)", "NeedsCompilation": "yes"},
    )


def _heavy(repository: Path) -> None:
    """What packages do that makes two builds differ easily: C++ with another package's headers,
    Fortran, reference classes, environments, help that R computes, data that R code makes."""
    add(
        repository,
        "headers",
        "1.0",
        {
            "NAMESPACE": "",
            "inst/include/total.hpp": (
                "#include <numeric>\n#include <vector>\n"
                "inline double total(const std::vector<double> &v) {\n"
                "    return std::accumulate(v.begin(), v.end(), 0.0);\n}\n"
            ),
        },
        {},
    )
    add(
        repository,
        "heavy",
        "1.0",
        {
            "NAMESPACE": (
                "useDynLib(heavy)\nimport(methods)\nexport(tot, dbl, Sum)\nS3method(print, heavy)\n"
            ),
            "R/b.R": (
                "tot <- function(x) .Call('tot_', as.numeric(x), PACKAGE = 'heavy')\n"
                "dbl <- function(x) .Fortran('dbl', x = as.double(x), n = length(x))$x\n"
            ),
            "R/a.R": (
                "Sum <- setRefClass('Sum', fields = list(total = 'numeric', e = 'environment'),\n"
                "    methods = list(add = function(x) { total <<- total + x; invisible(.self) }))\n"
                "print.heavy <- function(x, ...) cat('heavy\\n')\ncache <- new.env()\n"
                "for (i in 1:99) assign(paste0('k', i), i, envir = cache)\n"
            ),
            "src/tot.cpp": (
                "#include <total.hpp>\n#include <stdexcept>\n#include <Rinternals.h>\n"
                'extern "C" SEXP tot_(SEXP x) {\n'
                "    std::vector<double> v(REAL(x), REAL(x) + Rf_xlength(x));\n"
                "    if (v.empty()) throw std::runtime_error(__FILE__);\n"
                "    return Rf_ScalarReal(total(v));\n}\n"
            ),
            "src/dbl.f": (
                "      subroutine dbl(x, n)\n      integer n, i\n      double precision x(n)\n"
                "      do 10 i = 1, n\n        x(i) = 2 * x(i)\n   10 continue\n      end\n"
            ),
            "man/tot.Rd": (
                "\\name{tot}\\alias{tot}\\title{Tot}\\description{In "
                "\\Sexpr[stage=install]{getwd()}.}\\usage{tot(x)}\\arguments{\\item{x}{numbers}}\n"
            ),
            "data/d.R": "d <- structure(list(a = 1:3), class = 'heavy')\n",
        },
        {
            "NeedsCompilation": "yes",
            "LinkingTo": "headers",
            "Imports": "methods",
            "LazyData": "yes",
            "Collate": "'a.R' 'b.R'",
        },
    )
