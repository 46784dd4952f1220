"""`envd key` and `envd cache use`: what they write, what they leave alone, and what they say."""

from __future__ import annotations

import multiprocessing
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.app import trust
from engine.cache import keys, settings
from engine.cli.main import main

ONE, TWO = keys.SigningKey("team-1", b"1" * 32), keys.SigningKey("team-2", b"2" * 32)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without settings, and no variable about them."""
    for name in [name for name in os.environ if name.startswith("ENVD_") or name == "XDG_CONFIG_HOME"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@dataclass(frozen=True)
class Told:
    """What a command printed, and its exit status."""

    code: int
    out: str
    err: str


@pytest.fixture
def envd(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@dataclass(frozen=True)
class Command:
    """The command, run in this process."""

    capsys: pytest.CaptureFixture[str]

    def __call__(self, *words: str) -> Told:
        code = 0
        try:
            main(words)
        except SystemExit as stop:
            code = int(stop.code or 0)
        told = self.capsys.readouterr()
        return Told(code, told.out, told.err)


def test_a_key_is_made_once(home: Path, envd: Command) -> None:
    path = home / ".config/envd/signing-key"
    made = envd("key", "generate", "team-1")
    assert made.code == 0
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    key = keys.read_signing_key(path)
    assert made.out == f"{key.public}\n" and key.name == "team-1"
    assert f"kept in {path}; others trust it with `envd key trust {key.public}`" in made.err
    assert key.secret().partition(":")[2] not in made.out + made.err
    before = path.read_bytes()
    again = envd("key", "generate", "team-2")
    assert (again.code, again.out, path.read_bytes()) == (2, "", before)
    assert "signing-key: is there already, and a key that is lost cannot be made again" in again.err
    assert envd("key", "show").out == made.out
    assert settings.read().trusted == (key.public,)


def test_a_key_elsewhere(home: Path, envd: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    made = envd("key", "generate", "ci", "--output", "ci.key")
    assert made.code == 0 and f"ENVD_SIGNING_KEY={home}/ci.key" in made.err
    assert not (home / ".config").exists()
    assert envd("key", "show", "ci.key").out == made.out
    none = envd("key", "show")
    assert none.code == 2 and "there is no signing key; make one with `envd key generate`" in none.err
    monkeypatch.setenv("ENVD_SIGNING_KEY", "ci.key")
    assert envd("key", "show").out == made.out
    # what is there is not written over, also through a link
    (home / "link").symlink_to(home / "nowhere")
    assert envd("key", "generate", "ci", "--output", "link").code == 2
    assert not (home / "nowhere").exists()
    assert envd("key", "generate", "ci", "-o", "no/such/key").code == 1
    for name in ("a b", "a:b", "x" * 65):
        wrong = envd("key", "generate", name, "-o", "other")
        assert (wrong.code, (home / "other").exists()) == (2, False)
        assert "is not a valid key name" in wrong.err


def test_a_keys_own_name(envd: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "the machine(1)")
    monkeypatch.setattr("getpass.getuser", lambda: "ädam")
    name = envd("key", "generate").out.partition(":")[0]
    assert name == "-dam-the-machine-1-"
    keys.check_name(name)


COMMENTED = f"""\
# ours, kept in git
[cache] # of the team

# who may write
trusted-keys = [
    "{TWO.public}",  # CI
]
salt = '2'   # after the accident in May
"""


def test_comments_stay(home: Path, envd: Command) -> None:
    path = home / ".config/envd/config.toml"
    path.parent.mkdir(parents=True)
    path.write_text(COMMENTED)
    path.chmod(0o640)
    assert envd("key", "trust", str(ONE.public)).code == 0
    assert envd("cache", "use", "--publish", "ghcr.io/team/cache").code == 0
    text = path.read_text()
    for line in COMMENTED.splitlines():
        assert line in text.splitlines()
    found = settings.read()
    assert found.trusted == (TWO.public, ONE.public)
    assert (found.substituters, found.publish, found.salt) == (
        ("ghcr.io/team/cache",),
        "ghcr.io/team/cache",
        "2",
    )
    assert path.stat().st_mode & 0o777 == 0o640
    assert envd("key", "trust", "--remove", "team-1").code == 0
    assert envd("cache", "use", "--remove", "ghcr.io/team/cache").code == 0
    assert settings.read() == settings.check(COMMENTED, path)
    assert [line for line in COMMENTED.splitlines() if line not in path.read_text().splitlines()] == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[cache]\n",
        'cache.salt = "2"\n',
        'cache = {salt = "2"}\n',
        f'[cache]\ntrusted-keys = ["{TWO.public}"]',
        f'[cache]\r\ntrusted-keys = [ "{TWO.public}" , ]\r\n# end\r\n',
        f'[cache]\ntrusted-keys = [\n  "{TWO.public}", # one\n  # and\n]\n',
        f'"cache"."trusted-keys" = ["{TWO.public}"]\n',
        "# nothing but a comment",
    ],
)
def test_however_it_is_written(home: Path, text: str) -> None:
    path = home / ".config/envd/config.toml"
    path.parent.mkdir(parents=True)
    path.write_bytes(text.encode())
    before = settings.read()
    assert trust.trust(ONE.public) and not trust.trust(ONE.public)
    assert trust.use("dir:/mnt/x", publish=False) and not trust.use("dir:/mnt/x", publish=False)
    assert trust.use("dir:/mnt/x", publish=True) and not trust.use("dir:/mnt/x", publish=True)
    found = settings.read()
    assert found.trusted == (*before.trusted, ONE.public)
    assert (found.substituters, found.publish, found.salt) == (("dir:/mnt/x",), "dir:/mnt/x", before.salt)
    trust.distrust("team-1")
    trust.leave("dir:/mnt/x")
    assert settings.read() == before


def test_another_key_of_that_name(home: Path, envd: Command) -> None:
    envd("key", "trust", str(ONE.public))
    before = (home / ".config/envd/config.toml").read_bytes()
    told = envd("key", "trust", str(keys.SigningKey("team-1", b"3" * 32).public))
    assert told.code == 2
    assert (
        "another key named 'team-1' is trusted; take it out first with `envd key trust --remove team-1`"
        in told.err
    )
    assert (home / ".config/envd/config.toml").read_bytes() == before
    assert "trusted already" in envd("key", "trust", str(ONE.public)).err


@pytest.mark.parametrize(
    "text", ["[cache\n", "[chace]\n", "[cache]\ntrusted-keys = 1\n", "[cache]\nsalt = 'a b'\n"]
)
def test_what_is_not_understood_is_not_touched(home: Path, envd: Command, text: str) -> None:
    path = home / ".config/envd/config.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    for words in (
        ("key", "trust", str(ONE.public)),
        ("cache", "use", "/mnt/x"),
        ("key", "trust", "--remove", "x"),
    ):
        told = envd(*words)
        assert told.code == 2 and told.err.startswith(f"error: {path}: ")
        assert path.read_text() == text


def test_a_link_stays_a_link(home: Path, envd: Command) -> None:
    (home / "dotfiles").mkdir()
    (home / "dotfiles/envd.toml").write_text("[cache]\n")
    (home / ".config/envd").mkdir(parents=True)
    (home / ".config/envd/config.toml").symlink_to(home / "dotfiles/envd.toml")
    assert envd("cache", "use", "ghcr.io/a").code == 0
    assert (home / ".config/envd/config.toml").is_symlink()
    assert tomllib.loads((home / "dotfiles/envd.toml").read_text()) == {
        "cache": {"substituters": ["ghcr.io/a"]}
    }


def test_which_keys(envd: Command, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no key is trusted" in envd("key", "ls").err
    envd("key", "trust", str(TWO.public))
    envd("key", "generate", "mine")
    rows = [line.split() for line in envd("key", "ls").out.splitlines()[1:]]
    assert [(row[0], row[2]) for row in rows] == [
        ("team-2", f"{home}/.config/envd/config.toml"),
        ("mine", f"{home}/.config/envd/signing-key"),
    ]
    monkeypatch.setenv("ENVD_TRUSTED_KEYS", str(ONE.public))
    monkeypatch.setenv("ENVD_SIGNING_KEY", "")
    assert envd("key", "ls", "--format=json").out.count("ENVD_TRUSTED_KEYS") == 1
    assert "ENVD_TRUSTED_KEYS is set, and wins over this file" in envd("key", "trust", str(TWO.public)).err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("key", "trust"), "give a key (NAME:BASE64), or --remove NAME"),
        (("key", "trust", str(ONE.public), "--remove", "x"), "give a key (NAME:BASE64), or --remove NAME"),
        (("key", "trust", ONE.secret()), "'team-1' is the secret half of a key"),
        (("key", "trust", "--remove", "tem-2"), "no key named 'tem-2' is trusted; did you mean 'team-2'?"),
        (
            ("key", "trust", "--remove", "x"),
            "no key named 'x' is trusted; `envd key ls` lists those that are",
        ),
        (("key", "show", "/nowhere"), "/nowhere: cannot read the signing key: No such file"),
        (("cache", "use", "--publish"), "give the place: HOST/REPOSITORY or a directory"),
        (("cache", "use", "--remove", "--publish", "/x"), "give --publish or --remove"),
        (("cache", "use", "--remove", "dir:/mnt/y"), "'dir:/mnt/y' is not used; did you mean 'dir:/mnt/x'?"),
        (("cache", "use", "https://ghcr.io/a"), "is a URL, not a place for a cache; write 'ghcr.io/a'"),
        (("cache", "use", "a:s3cret@ghcr.io/a"), "has no '@' in it"),
        (("cache", "use", "share"), "'share' is not a place for a cache; write HOST/REPOSITORY, such as"),
    ],
)
def test_mistakes(envd: Command, words: tuple[str, ...], said: str) -> None:
    trust.trust(TWO.public), trust.use("dir:/mnt/x", publish=False)
    before = settings.file().read_bytes()
    told = envd(*words)
    assert (told.code, told.out) == (2, "")
    assert said in told.err and told.err.startswith("error: ") and told.err.count("\n") == 1
    assert "s3cret" not in told.err and ONE.secret()[20:] not in told.err
    assert settings.file().read_bytes() == before


def test_places_that_are_used(envd: Command, home: Path) -> None:
    assert envd("cache", "use").out == ""
    told = envd("cache", "use", "./share")
    assert f"dir:{home}/share is used (" in told.err
    assert "no key is trusted yet, so nothing is taken: `envd key trust NAME:BASE64`" in told.err
    told = envd("cache", "use", "--publish", "dir:share")
    assert "publishing needs a key to sign with: `envd key generate`" in told.err
    assert f"dir:{home}/share is used already" in envd("cache", "use", f"{home}/x/../share/.").err
    assert envd("cache", "use", "127.0.0.1:5000/a/b").code == 0
    assert envd("cache", "use").out == f"dir:{home}/share\n127.0.0.1:5000/a/b\n"
    assert envd("cache", "use", "--remove", "share/").code == 2
    assert envd("cache", "use", "--remove", "./share").code == 0
    assert settings.read().publish == ""


def _trusted(number: int) -> None:
    trust.trust(keys.SigningKey(f"k{number}", bytes([number]) * 32).public)


def test_several_at_once(home: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.map(_trusted, range(24))
    assert {key.name for key in settings.read().trusted} == {f"k{n}" for n in range(24)}
    assert [p.name for p in (home / ".config/envd").iterdir()] == ["config.toml"]
