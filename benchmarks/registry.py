"""The demo image to a registry and back: envd against skopeo, with one real registry.

skopeo copies between the registry and directories; envd's store is its directory. A pull of envd's also
decompresses every layer and hashes what is in it, which skopeo leaves to whoever unpacks it. What a push
asks is counted, too: the registry's log has every request.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.peers import ENVD, environment
from benchmarks.timing import in_turn, seconds, show
from tests.integration import servers

DEMO = Path(__file__).parents[1] / "examples/demo"
_SKOPEO = ("skopeo", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false")


def main(rounds: int = 5) -> None:
    """Print the comparison."""
    servers.program("skopeo", "skopeo")
    with (
        tempfile.TemporaryDirectory(prefix="envd-bench-", dir="/var/tmp") as name,
        servers.registry() as server,
    ):
        directory = Path(name)
        variables = environment()
        layout = directory / "layout"
        build = [ENVD, "build", "--no-load", "-t", "envd-bench:registry", "-o", f"oci-dir:{layout}"]
        seconds(build, variables, DEMO)
        host = server.address

        def push(to: str) -> float:
            argv = [ENVD, "push", "-t", "envd-bench:registry", f"{host}/{to}:1"]
            return seconds(argv, variables, directory)

        def skopeo(source: str, target: str) -> float:
            return seconds([*_SKOPEO, source, target], variables, directory)

        def emptied(place: Path) -> Path:
            shutil.rmtree(place, ignore_errors=True)
            return place

        def theirs(to: str) -> float:
            return skopeo(f"oci:{layout}", f"docker://{host}/{to}:1")

        def anew(argv: Callable[[str], list[str]]) -> float:
            """A push into a registry that has nothing."""
            with servers.registry() as empty:
                return seconds(argv(empty.address), variables, directory)

        first = in_turn(
            lambda _: anew(lambda at: [ENVD, "push", "-t", "envd-bench:registry", f"{at}/demo:1"]),
            lambda _: anew(lambda at: [*_SKOPEO, f"oci:{layout}", f"docker://{at}/demo:1"]),
            rounds,
        )
        theirs("skopeo")
        push("envd")
        show("a first push of the demo image", "envd push", "skopeo copy", first)
        before = len(server.requests())
        push("envd")
        asked = len(server.requests()) - before
        again = in_turn(lambda _: push("envd"), lambda _: theirs("skopeo"), rounds)
        show("a push of what is there", "envd push", "skopeo copy", again, f"{asked} requests")
        before = len(server.requests())
        push("other")
        asked, sent = len(server.requests()) - before, _sent(server.requests()[before:])
        print(f"a push to another repository: {asked} requests, {sent} blobs sent", flush=True)
        pulled = in_turn(
            lambda _: seconds(
                [ENVD, "pull", "--no-load", f"{host}/envd:1"],
                environment(ENVD_STORE=str(emptied(directory / "store"))),
                directory,
            ),
            lambda _: skopeo(f"docker://{host}/envd:1", f"dir:{emptied(directory / 'dir')}"),
            rounds,
        )
        show("a pull of the demo image into an empty store", "envd pull", "skopeo copy", pulled)


def _sent(requests: list[tuple[str, str, int]]) -> int:
    return sum(method == "PUT" and "/blobs/uploads/" in path for method, path, _ in requests)


if __name__ == "__main__":
    main()
