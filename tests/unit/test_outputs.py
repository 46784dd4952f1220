"""`-o`, in both ways of writing it; names of images."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import UsageError
from engine.oci.outputs import Output, parse
from engine.oci.reference import image_tag


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("oci:a.tar", Output("oci", Path("a.tar").absolute())),
        ("oci-dir:a", Output("oci-dir", Path("a").absolute())),
        ("docker:a.tar", Output("docker", Path("a.tar").absolute())),
        ("type=oci,dest=a.tar", Output("oci", Path("a.tar").absolute())),
        ("type=oci,dest=a,tar=false", Output("oci-dir", Path("a").absolute())),
        ("type=docker,dest=a.tar,name=x:y", Output("docker", Path("a.tar").absolute(), "x:y")),
        ("dest=a.tar,type=docker", Output("docker", Path("a.tar").absolute())),
        ("type=docker", Output("load")),
        ("type=image", Output("load")),
        ("type=image,name=a:b", Output("load", None, "a:b")),
        ("type=image,name=h:1/a,push=true", Output("push", None, "h:1/a")),
        ("type=registry,name=h:1/a", Output("push", None, "h:1/a")),
    ],
)
def test_outputs(text: str, output: Output) -> None:
    assert parse([text]) == [output]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("oci", "write oci:FILE.tar"),
        ("oci:/dev/null", "neither a file nor a directory"),
        ("type=docker,dest=/dev/zero", "neither a file nor a directory"),
        ("oci:", "write oci:FILE.tar"),
        ("ocu:a.tar", "did you mean 'oci'?"),
        ("type=oci", "dest=FILE"),
        ("type=tar,dest=a", "no output type 'tar'"),
        ("type=oci,dst=a", "did you mean 'dest'?"),
        ("type=oci,dest=a,dest=b", "given twice"),
        ("type=oci,dest=a,tar=maybe", "true or false"),
        ("type=image,push=true", "name=HOST/NAME:TAG"),
        ("oci:no/such/place.tar", "no directory"),
        ("", "not an output"),
    ],
)
def test_bad_outputs(text: str, says: str) -> None:
    with pytest.raises(UsageError, match="-o ") as caught:
        parse([text])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_image_names() -> None:
    assert image_tag("a") == "a:latest"
    assert image_tag("a/b-c.d__e:v1") == "a/b-c.d__e:v1"
    assert image_tag("reg:5000/a") == "reg:5000/a:latest"
    for bad in ("", "A:b", "a:", "a::b", "a b", "/a", "a/", "-a", "a:b/c:d:", "ä"):
        with pytest.raises(UsageError):
            image_tag(bad)
