"""Specs as tensorchord/envd's users write them (its documentation, examples and tests), built and
run: each test is one behaviour that they rely on.

The harness is `tests.integration.specs`. `base()` without more is one base for all of them.
"""

from __future__ import annotations

import pytest

from tests.integration.specs import Specs

WHERE_NUMPY_IS = "import numpy, sys; print(sys.version_info[:2], numpy.array([1, 2]) + 1)"


# -- Python (docs: "getting started", e2e/v1: minimal, quick-start, hybrid) --------------------


def test_a_plain_base_has_no_python(specs: Specs) -> None:
    image = specs.image("""
        def build():
            base()
    """)
    assert image.sh(". /etc/os-release; echo $ID-$VERSION_ID; ls /usr/local/bin") == "debian-12"
    assert image.docker("python3", "-V", check=False).returncode == 127
    assert image.dangling() == []


@pytest.mark.parametrize(
    "call", ["base()\n    install.python()", 'base(dev=True)\n    install.python("3.11")',
             'base(os="debian12", language="python3")\n    install.python(version="3")'],
)
def test_install_python_brings_python_and_pip(specs: Specs, call: str) -> None:
    image = specs.image(f"""
def build():
    {call}
    install.python_packages(name=["numpy"])
""")
    for name in ("python", "python3"):
        assert image.run(name, "-c", WHERE_NUMPY_IS) == "(3, 11) [2 3]"
    assert "(python 3.11)" in image.run("pip", "--version")
    assert image.run("python", "-m", "pip", "check") == "No broken requirements found."
    assert image.dangling() == []
