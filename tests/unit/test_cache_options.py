"""`--export-cache` and `--import-cache`, as BuildKit and tensorchord/envd write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.cache.exchange import Exchange, exports, imports
from engine.errors import UsageError

HERE = f"dir:{Path.cwd()}"


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("type=registry,ref=ghcr.io/team/cache", Exchange("ghcr.io/team/cache")),
        ("type=registry,ref=ghcr.io/team/cache:main,mode=max", Exchange("ghcr.io/team/cache", "main")),
        ("ref=localhost:5000/cache,type=registry,mode=min", Exchange("localhost:5000/cache")),
        ("type=registry,ref=localhost:5000/a/b:t", Exchange("localhost:5000/a/b", "t")),
        ("type=registry,ref=h.io/a,oci-mediatypes=true,image-manifest=true", Exchange("h.io/a")),
        ("docker.io/user/image:cache", Exchange("docker.io/user/image", "cache")),
        ("type=local,dest=/mnt/share/../stick", Exchange("dir:/mnt/stick")),
        ("type=local,dest=cache", Exchange(f"{HERE}/cache")),
        ("type=local,dest=.", Exchange(HERE)),
        ("type=local,mode=max,dest=~/cache", Exchange(f"dir:{Path.home()}/cache")),
        ('type=local,"dest=/mnt/a,b"', Exchange("dir:/mnt/a,b")),
    ],
)
def test_exports(text: str, means: Exchange) -> None:
    assert exports([text]) == [means]


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("type=registry,ref=ghcr.io/team/cache:main", Exchange("ghcr.io/team/cache", "main")),
        ("ghcr.io/team/cache", Exchange("ghcr.io/team/cache")),
        ("type=local,src=/mnt/share", Exchange("dir:/mnt/share")),
        ("Type=local,SRC=/mnt/share,trust=unsigned", Exchange("dir:/mnt/share", unsigned=True)),
    ],
)
def test_imports(text: str, means: Exchange) -> None:
    assert imports([text, text]) == [means, means]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "write type=registry,ref=HOST/REPOSITORY"),
        ("type=inline", "type=inline is not supported"),
        ("type=gha,scope=x", "only BuildKit speaks to; write type=registry"),
        ("type=s3,bucket=b", "type=s3 is not supported"),
        ("type=registri,ref=h.io/a", "no cache type 'registri'; did you mean 'registry'?"),
        ("ref=h.io/a", "has no type; write type=registry"),
        ("type=registry", "type=registry needs ref="),
        ("type=registry,ref=", "type=registry needs ref="),
        ("type=registry,ref=cache", "not a place for a cache"),
        ("type=registry,ref=h.io/A", "not a place for a cache"),
        ("type=registry,ref=h.io/a:-x", "'-x' is not a valid tag"),
        ("type=registry,ref=https://h.io/a", "write 'h.io/a'"),
        ("type=registry,ref=/mnt/share", "write type=local for one"),
        ("type=registry,ref=dir:/mnt/share", "write type=local for one"),
        ("type=registry,ref=h.io/a,ref=h.io/b", "'ref' is given twice"),
        ("type=registry,ref=h.io/a,dest=x", "has no 'dest'; write ref="),
        ("type=registry,ref=h.io/a,trust=unsigned", "must be signed by a key that is trusted"),
        ("type=local", "type=local needs "),
        ("type=local,dist=x", "type=local has no 'dist'"),
        ("type=local,x", "'x' is not KEY=VALUE"),
        ('type=local,"x', "its quotes or lines make no sense"),
        ("type=local\nsrc=x", "its quotes or lines make no sense"),
    ],
)
def test_what_is_wrong_is_said(text: str, says: str) -> None:
    for parse in (exports, imports):
        with pytest.raises(UsageError) as caught:
            parse([text])
        assert says in str(caught.value)
        assert str(caught.value).startswith("--")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("type=local,src=x", "has no 'src'; write dest="),
        ("type=local,dest=x,mode=all", "mode is min or max, not 'all'"),
        ("type=local,dest=x,oci-mediatypes=false", "oci-mediatypes=true is all that there is"),
        ("type=local,dest=x,compression=zstd", "has no 'compression'; write type=registry"),
    ],
)
def test_wrong_exports(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        exports([text])
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("type=local,dest=x", "has no 'dest'; write src="),
        ("type=local,src=x,mode=max", "has no 'mode'"),
        ("type=local,src=x,trust=all", "write trust=unsigned"),
    ],
)
def test_wrong_imports(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        imports([text])
    assert says in str(caught.value)


def test_a_login_is_not_repeated() -> None:
    for text in ("type=registry,ref=me:s3cret@h.io/a", "me:s3cret@h.io/a", "type=local,me:s3cret@h.io/a"):
        with pytest.raises(UsageError) as caught:
            imports([text])
        assert "s3cret" not in str(caught.value)
