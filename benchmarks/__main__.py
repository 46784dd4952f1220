"""`make bench`: every benchmark, each beside a peer in the same run."""

from __future__ import annotations

from benchmarks import noop

if __name__ == "__main__":
    noop.main()
