"""What a user says about sharing: in the settings and in the environment, and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.cache import keys, settings
from engine.cache.settings import Settings
from engine.errors import UsageError

# The same in every process: parameters of tests are made of them.
ONE, TWO = keys.SigningKey("team-1", b"1" * 32), keys.SigningKey("team-2", b"2" * 32)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without settings, and no variable about them."""
    for name in [name for name in os.environ if name.startswith("ENVD_") or name == "XDG_CONFIG_HOME"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".config/envd").mkdir(parents=True)
    return tmp_path


def said(home: Path, text: str) -> Path:
    path = home / ".config/envd/config.toml"
    path.write_text(text)
    return path


def key_file(path: Path, key: keys.SigningKey = ONE) -> Path:
    path.write_text(key.secret())
    path.chmod(0o600)
    return path


def test_nothing_is_said() -> None:
    assert settings.read() == Settings()


def test_the_file(home: Path) -> None:
    key_file(home / "key")
    said(
        home,
        f"""
        [cache]
        substituters = ["ghcr.io/team/cache", "dir:/mnt/share", "/mnt/other/", "~/cache", "127.0.0.1:5000/c"]
        trusted-keys = ["{TWO.public}"]
        signing-key = "~/key"
        publish = "ghcr.io/team/cache"
        always-publish = true
        sources = true
        salt = "2"
        """,
    )
    assert settings.read() == Settings(
        substituters=(
            "ghcr.io/team/cache",
            "dir:/mnt/share",
            "dir:/mnt/other",
            f"dir:{home}/cache",
            "127.0.0.1:5000/c",
        ),
        trusted=(TWO.public, ONE.public),  # who signs trusts what was signed
        signing=home / "key",
        publish="ghcr.io/team/cache",
        always=True,
        sources=True,
        salt="2",
    )


def test_the_environment(home: Path) -> None:
    key_file(home / "key")
    assert settings.read(
        {
            "ENVD_SUBSTITUTERS": " ghcr.io/team/cache,dir:/mnt/share\n\tquay.io/a/b ",
            "ENVD_TRUSTED_KEYS": f"{TWO.public}, {ONE.public}",
            "ENVD_SIGNING_KEY": str(home / "key"),
            "ENVD_PUBLISH": "quay.io/a/b",
        }
    ) == Settings(
        substituters=("ghcr.io/team/cache", "dir:/mnt/share", "quay.io/a/b"),
        trusted=(TWO.public, ONE.public),
        signing=home / "key",
        publish="quay.io/a/b",
    )


def test_the_environment_wins_one_by_one(home: Path) -> None:
    key_file(home / ".config/envd/signing-key", TWO)
    said(
        home,
        f'[cache]\nsubstituters = ["quay.io/a/b"]\ntrusted-keys = ["{ONE.public}"]\npublish = "quay.io/a/b"\n'
        'salt = "s"\n',
    )
    whole = settings.read()
    assert whole.signing == home / ".config/envd/signing-key"  # the default, when it is there
    assert whole.trusted == (ONE.public, TWO.public)
    other = settings.read({"ENVD_SUBSTITUTERS": "ghcr.io/team/cache"})
    assert (other.substituters, other.publish, other.salt) == (("ghcr.io/team/cache",), "quay.io/a/b", "s")
    # set to nothing: none, whatever the file says
    none = settings.read(
        {"ENVD_SUBSTITUTERS": "", "ENVD_TRUSTED_KEYS": " ", "ENVD_SIGNING_KEY": "", "ENVD_PUBLISH": ""}
    )
    assert none == Settings(salt="s")


def test_xdg(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said(home, '[cache]\nsalt = "home"\n')
    (home / "xdg/envd").mkdir(parents=True)
    (home / "xdg/envd/config.toml").write_text('[cache]\nsalt = "xdg"\n')
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "xdg"))
    assert settings.read().salt == "xdg"


def test_a_project_adds_no_trust(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever lies in the directory that somebody builds in, its own files are no settings."""
    said(home, f'[cache]\ntrusted-keys = ["{ONE.public}"]\n')
    project = home / "project"
    text = f'[cache]\ntrusted-keys = ["{TWO.public}"]\nsubstituters = ["evil.example/a"]\nsalt = "evil"\n'
    for name in (
        "config.toml",
        "envd.toml",
        "envd/config.toml",
        ".config/envd/config.toml",
        ".envd/config.toml",
    ):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    (project / ".env").write_text(f"ENVD_TRUSTED_KEYS={TWO.public}\n")
    monkeypatch.chdir(project)
    expected = Settings(trusted=(ONE.public,))
    assert settings.read() == expected
    for relative in (".", ".config", "envd/.."):  # a relative path would be one of every project
        monkeypatch.setenv("XDG_CONFIG_HOME", relative)
        assert settings.read() == expected


WRONG: dict[str, tuple[str | bytes, str]] = {
    "not TOML": ("[cache\n", "config.toml: not TOML: "),
    "not UTF-8": (b"\xff", "config.toml: not TOML: "),
    "deep": ("a=" + "[" * 5000, "config.toml: not TOML: "),
    "another table": ("[chace]\n", "config.toml: 'chace' is not a setting; did you mean 'cache'?"),
    "no table": ("cache = 1\n", "config.toml: 'cache' is not a table; write [cache]"),
    "several tables": ("[[cache]]\n", "config.toml: 'cache' is not a table"),
    "a key that is none": (
        "[cache]\ntrusted_keys = []\n",
        "config.toml: [cache] has no setting 'trusted_keys'; did you mean 'trusted-keys'?",
    ),
    "a key that is like none": ("[cache]\nzzz = 1\n", "has no setting 'zzz'; known are substituters, "),
    "twice": ("[cache]\nsalt = '1'\nsalt = '2'\n", "config.toml: not TOML: "),
    "a text for a list": (
        "[cache]\nsubstituters = 'ghcr.io/a'\n",
        "config.toml: [cache] substituters: not a list of texts",
    ),
    "a number in a list": ("[cache]\ntrusted-keys = [1]\n", "config.toml: [cache] trusted-keys: not a list"),
    "a text for a switch": ("[cache]\nsources = 'yes'\n", "[cache] sources: neither true nor false; write"),
    "a number for a switch": ("[cache]\nalways-publish = 1\n", "[cache] always-publish: neither true nor"),
    "a list for a text": ("[cache]\npublish = ['ghcr.io/a']\n", "[cache] publish: not a text"),
    "a salt with a blank": ("[cache]\nsalt = 'a b'\n", "[cache] salt: not a salt; use at most 64"),
    "a long salt": (f"[cache]\nsalt = '{'x' * 65}'\n", "[cache] salt: not a salt"),
    "a number as salt": ("[cache]\nsalt = 2\n", "[cache] salt: not a text"),
    "no key": (
        "[cache]\ntrusted-keys = ['k']\n",
        "[cache] trusted-keys: not a public key; write NAME:BASE64",
    ),
    "the secret half": (
        f"[cache]\ntrusted-keys = ['{ONE.secret()}']\n",
        "'team-1' is the secret half of a key",
    ),
    "two of a name": (
        f"[cache]\ntrusted-keys = ['{ONE.public}', '{keys.SigningKey('team-1', b'3' * 32).public}']\n",
        "[cache] trusted-keys: two keys are named 'team-1'; leave out the one",
    ),
    "no such key file": (
        "[cache]\nsigning-key = 'nokey'\n",
        ".config/envd/nokey: cannot read the signing key",
    ),
    "a key for its file": (f"[cache]\nsigning-key = '{ONE.secret()}'\n", "signing-key: holds a signing key"),
    "a place without a repository": (
        "[cache]\nsubstituters = ['ghcr.io']\n",
        "[cache] substituters: 'ghcr.io' is",
    ),
    "large": ("#" * 2_000_000, "is larger than 1024 KiB"),
}


@pytest.mark.parametrize("case", sorted(WRONG))
def test_settings_that_are_wrong(home: Path, case: str) -> None:
    text, expected = WRONG[case]
    path = home / ".config/envd/config.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError) as error:
        settings.read()
    assert expected in str(error.value)
    assert str(error.value).startswith(str(home / ".config/envd"))
    assert ONE.secret().partition(":")[2][:10] not in str(error.value)
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("ENVD_SUBSTITUTERS", "ghcr.io/a nothing", "ENVD_SUBSTITUTERS: 'nothing' is not a place for a cache"),
        ("ENVD_PUBLISH", "ghcr.io/a ghcr.io/b", "ENVD_PUBLISH: 'ghcr.io/a ghcr.io/b' is not a place"),
        ("ENVD_TRUSTED_KEYS", "k:AAAA", "ENVD_TRUSTED_KEYS: 'k' is not a public key: it has 3 bytes, not 32"),
        ("ENVD_TRUSTED_KEYS", f"{ONE.public}\x0b,k", "ENVD_TRUSTED_KEYS: not a public key"),
        (
            "ENVD_SIGNING_KEY",
            ONE.secret(),
            "ENVD_SIGNING_KEY: holds a signing key itself; write it to a file",
        ),
        ("ENVD_SIGNING_KEY", "/nowhere/key", "/nowhere/key: cannot read the signing key: No such file"),
        ("ENVD_SIGNING_KEY", "~nobody-of-this-name/key", "ENVD_SIGNING_KEY: '~nobody-of-this-name/key'"),
    ],
)
def test_variables_that_are_wrong(name: str, text: str, expected: str) -> None:
    with pytest.raises(UsageError) as error:
        settings.read({name: text})
    assert expected in str(error.value)
    assert ONE.secret().partition(":")[2][:10] not in str(error.value)


PLACES = {
    "ghcr.io/team/cache": "ghcr.io/team/cache",
    "localhost/a": "localhost/a",
    "127.0.0.1:5000/a/b-c/d_e.f": "127.0.0.1:5000/a/b-c/d_e.f",
    "[::1]:5000/a": "[::1]:5000/a",
    "dir:/a/./b//c/../d": "dir:/a/b/d",
    "/a b/c": "dir:/a b/c",
    "dir:~/x": "dir:{home}/x",
    "~": "dir:{home}",
}


@pytest.mark.parametrize("text", sorted(PLACES))
def test_places(home: Path, text: str) -> None:
    assert settings.place(text) == PLACES[text].format(home=home)
    assert settings.place(settings.place(text)) == settings.place(text)


def test_a_relative_directory(tmp_path: Path) -> None:
    assert settings.place("./x", tmp_path) == settings.place("dir:x", tmp_path) == f"dir:{tmp_path}/x"
    assert settings.place("..", tmp_path / "y") == f"dir:{tmp_path}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is not a place"),
        ("cache", "is not a place"),
        ("team/cache", "is not a place"),  # Docker Hub's would be docker.io/team/cache
        ("ghcr.io/", "is not a place"),
        ("ghcr.io/Team", "is not a place"),
        ("ghcr.io/team:latest", "is not a place"),
        ("ghcr.io/a/../b", "is not a place"),
        ("ghcr.io//a", "is not a place"),
        ("ghcr.io/a?b", "is not a place"),
        ("ghcr.io/a\n", "is not a place"),
        ("ghcr.io/" + "a" * 300, "is not a place"),
        ("https://ghcr.io/team/cache/", "is a URL, not a place for a cache; write 'ghcr.io/team/cache'"),
        ("oci://ghcr.io", "is a URL, not a place for a cache; write HOST/REPOSITORY"),
        ("s3://bucket/x?y", "is a URL, not a place for a cache; write HOST/REPOSITORY"),
        ("ghcr.io/a@sha256:" + "0" * 64, "has no '@' in it; write HOST/REPOSITORY"),
        ("dir:", "is not a place"),
        ("dir:a", "is a relative path; write an absolute one"),
        ("./a", "is a relative path"),
        ("dir:/a\0b", "is not a place"),
        ("~nobody-of-this-name/a", "write an absolute path"),
    ],
)
def test_places_that_are_none(text: str, expected: str) -> None:
    with pytest.raises(UsageError) as error:
        settings.place(text)
    assert expected in str(error.value)


@pytest.mark.parametrize("text", ["me:s3cret@ghcr.io/a", "https://me:s3cret@ghcr.io/a", "https://me:s3cret@"])
def test_a_password_is_not_repeated(text: str) -> None:
    with pytest.raises(UsageError) as error:
        settings.place(text)
    assert "s3cret" not in str(error.value)


def test_a_file_that_every_user_can_write(home: Path) -> None:
    path = said(home, "[cache]\n")
    path.chmod(0o664)  # a group of one's own, as many systems have it
    assert settings.read() == Settings()
    path.chmod(0o666)
    with pytest.raises(UsageError, match="every user can write these settings"):
        settings.read()


def test_a_file_that_is_none(home: Path) -> None:
    path = home / ".config/envd/config.toml"
    path.mkdir()
    with pytest.raises(UsageError, match=r"config\.toml: cannot be read: Is a directory"):
        settings.read()
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(
        UsageError, match=r"config\.toml: the file of settings is not a regular file"
    ):  # nobody waits for its other end
        settings.read()
    path.unlink()
    path.symlink_to(path.name)
    with pytest.raises(UsageError, match="Too many levels of symbolic links"):
        settings.read()


def test_a_signing_key_has_to_be_usable(home: Path) -> None:
    """Said before the build, not after it when something is to be published."""
    path = key_file(home / ".config/envd/signing-key")
    assert settings.read().trusted == (ONE.public,)
    path.chmod(0o644)
    with pytest.raises(UsageError, match="other users can read or write the signing key"):
        settings.read()
    assert settings.read({"ENVD_SIGNING_KEY": ""}) == Settings()


def test_a_relative_signing_key(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the file beside it, in a variable where the command runs."""
    key_file(home / ".config/envd/k"), key_file(home / "k", TWO)
    said(home, '[cache]\nsigning-key = "k"\n')
    monkeypatch.chdir(home)
    assert settings.read().trusted == (ONE.public,)
    assert settings.read({"ENVD_SIGNING_KEY": "k"}).signing == home / "k"
