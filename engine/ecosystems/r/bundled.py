"""The packages that R brings along."""

from __future__ import annotations

# Part of R itself (priority "base" in its sources).
BASE = (
    "base",
    "compiler",
    "datasets",
    "grDevices",
    "graphics",
    "grid",
    "methods",
    "parallel",
    "splines",
    "stats",
    "stats4",
    "tcltk",
    "tools",
    "utils",
)
# R's recommended packages; Debian calls them r-cran-NAME.
RECOMMENDED = (
    "KernSmooth",
    "MASS",
    "Matrix",
    "boot",
    "class",
    "cluster",
    "codetools",
    "foreign",
    "lattice",
    "mgcv",
    "nlme",
    "nnet",
    "rpart",
    "spatial",
    "survival",
)
