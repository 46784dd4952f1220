"""`make bench`: every benchmark, each beside a peer in the same run. With names, only those."""

from __future__ import annotations

import sys

from benchmarks import change, cold, noop, overhead, registry, sandbox, sharing

ALL = {
    "noop": noop.main,
    "change": change.main,
    "overhead": overhead.main,
    "sandbox": sandbox.main,
    "registry": registry.main,
    "cold": cold.main,
    "sharing": sharing.main,
}

if __name__ == "__main__":
    for name in sys.argv[1:] or ALL:
        if name not in ALL:
            sys.exit(f"no benchmark '{name}'; there are {', '.join(ALL)}")
        ALL[name]()
