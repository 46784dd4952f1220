"""What git is shown of the user's to reach a remote, for it runs in a sandbox (`engine.realise.jail`).

git's own settings are read here, by a git that reads nothing else, and those that say how this one
remote is reached are written down for the one inside: an address that another stands for, proxies,
certificates, headers. A password comes from the user's credential helpers, but only once the server has
asked for one, and only that server's. ssh, which cannot do with less, sees the user's ~/.ssh and the
agent, by a socket of ours.

Sources: git-config(1), gitcredentials(7), git-credential(1), ssh(1), gitrepository-layout(5).
"""

from __future__ import annotations

import netrc
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

from engine.core import command
from engine.ecosystems.includes.ssh_agent import Relay
from engine.realise import jail
from store import certificates, notices, retry

# Of the user's GIT_… only what says how to reach a remote; GIT_DIR and its like are of another
# repository, when we run inside a hook.
_KEPT = re.compile(r"GIT_(SSH|SSL|PROXY|CONFIG|ASKPASS|HTTP|TRACE|CURL)")
# What of the environment goes inside: no settings, which are written down, and nobody to ask.
_INSIDE = re.compile(
    r"GIT_(SSH|SSL|PROXY|HTTP|TRACE|CURL)|SSL_CERT_|CURL_CA_BUNDLE$|NIX_SSL_CERT_FILE$|SUDO_UID$|"
    r"(?i:[a-z]+_proxy)$"
)
_FILES = re.compile(
    r"GIT_(PROXY_)?SSL_(CAINFO|CAPATH|CERT|KEY)|SSL_CERT_(FILE|DIR)|CURL_CA_BUNDLE|NIX_SSL_CERT_FILE"
)
_SETTINGS = ("http", "ssh", "safe", "transfer", "fetch")
_SETTING_FILES = re.compile(r"http\.(.*\.)?(sslcainfo|sslcapath|sslcert|sslkey|cookiefile|proxyssl\w+)")
_SSH_SYSTEM = (
    "/etc/ssh/ssh_config",
    "/etc/ssh/ssh_config.d",
    "/etc/ssh/ssh_known_hosts",
    "/etc/ssh/ssh_known_hosts2",
    "/etc/crypto-policies",
)
_SSH_FILES = (
    "identityfile",
    "certificatefile",
    "userknownhostsfile",
    "globalknownhostsfile",
    "revokedhostkeys",
)
_SCP = re.compile(r"(?!\w+://)([^/:\[]+|\[[^\]]*\]|[^/:\[]*\[[^\]]*\]):")
# What git says when a server wants to know who asks.
_WHO = re.compile(r"could not read (Username|Password) for|Authentication failed for")
NOBODY = {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8"}


@dataclass(frozen=True)
class Credential:
    """What the user's helpers know of a server: lines of git-credential(1)."""

    description: bytes


@dataclass(frozen=True)
class Reach:
    """How the remote `url` is reached by a git inside. `settings` are (name, value), None for one
    without; `home` is where it looks for them."""

    url: str
    place: Path
    home: str
    environment: Mapping[str, str]
    network: bool
    settings: Sequence[tuple[str, str | None]]
    binds: Sequence[jail.Bind] = ()
    relay: Relay | None = field(default=None, compare=False)

    def files(self, credential: Credential | None) -> list[jail.Bind]:
        """Write the settings down, and `credential`; where they are."""
        settings = self.place / "config"
        _write(settings, _configuration([*self.settings, *self._helper(credential)]))
        binds = [*self.binds, jail.Bind(settings, f"{self.home}/.gitconfig")]
        if credential is not None:
            known = self.place / "credential"
            _write(known, credential.description.decode("utf-8", "surrogateescape"))
            binds.append(jail.Bind(known, str(known)))
        return binds

    def _helper(self, credential: Credential | None) -> list[tuple[str, str | None]]:
        """The settings by which git finds the credential, for this server alone."""
        if credential is None:
            return []
        path = shlex.quote(str(self.place / "credential"))
        helper = f'!f() {{ test "$1" = get && cat {path}; }}; f'
        return [(f"credential.{_server(self.url)}.helper", helper)]

    def is_asked(self, words: str) -> bool:
        """Whether the server wants to know who asks, and the user's helpers may be asked in turn."""
        parts = urlsplit(self.url)
        return parts.scheme in ("http", "https") and parts.password is None and _WHO.search(words) is not None

    def credential(self) -> Credential | None:
        """What the user's credential helpers, or a program that asks for passwords, say."""
        done = self._ask("fill", f"url={self.url}\n".encode())
        return Credential(done) if b"\npassword=" in b"\n" + done else None

    def tell(self, credential: Credential, *, good: bool) -> None:
        """Tell the user's helpers whether that was right."""
        self._ask("approve" if good else "reject", credential.description)

    def _ask(self, verb: str, words: bytes) -> bytes:
        done = command.ask(
            ["git", "credential", verb], environment=_own_environment(), cwd=Path("/"), given=words
        )
        return done.stdout if done.returncode == 0 else b""

    def close(self) -> None:
        if self.relay is not None:
            self.relay.close()


def reach(url: str, place: Path) -> Reach:
    """How `url` is reached; what has to be written down goes into `place`, which is ours.

    Raises FileNotFoundError when there is no git.
    """
    settings = _user_settings()
    url = _instead(url, settings)
    parts = urlsplit(url)
    user, account = jail.user()
    home = os.environ.get("HOME") or account
    kept = {k: v for k, v in os.environ.items() if _INSIDE.match(k)}
    environment = {**kept, **NOBODY, "HOME": home, "USER": user, "GIT_CONFIG_NOSYSTEM": "1"}
    used = [
        (k, _expanded(v, home) if v and _SETTING_FILES.fullmatch(k.lower()) else v)
        for k, v in settings
        if _is_for(k, parts.hostname or "")
    ]
    if parts.scheme == "https" and certificates.named():  # not every libcurl looks at them by itself
        authorities = certificates.authorities()
        kind = "http.sslCAPath" if Path(authorities).is_dir() else "http.sslCAInfo"
        used.insert(0, (kind, authorities))
    wanted = [v for k, v in kept.items() if _FILES.fullmatch(k)]
    wanted += [v for k, v in used if v and _SETTING_FILES.fullmatch(k.lower())]
    binds: list[jail.Bind] = []
    relay = None
    network = True
    if host := _ssh_host(url):
        ssh = environment["GIT_SSH_COMMAND"] = ssh_command(kept, settings)
        files, agent = _ssh_files(host, ssh, home, account)
        wanted += files
        if agent:
            relay = Relay(agent, place)
            environment["SSH_AUTH_SOCK"] = str(relay.path)
            binds.append(jail.Bind(relay.path, str(relay.path), writable=True))
    elif parts.scheme in ("http", "https"):
        binds += _netrc(parts.hostname or "", home, place)
    elif parts.scheme in ("", "file"):
        network = False
        wanted += repository(Path(unquote(parts.path) if parts.scheme else url))
    binds += jail.shown(wanted)
    return Reach(url, place, home, environment, network, used, binds, relay)


def outside() -> dict[str, str]:
    """The environment of a git that runs where no sandbox can be made: all of the user's."""
    return {"GIT_SSH_COMMAND": ssh_command({}, ()), **_own_environment()}


def _own_environment() -> dict[str, str]:
    """The environment of a git of the user's that reaches no remote."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GIT_") or _KEPT.match(k)}
    return {**kept, **NOBODY}


def _user_settings() -> list[tuple[str, str | None]]:
    """The settings of the machine, the user and the environment, in order."""
    environment = {**_own_environment(), "GIT_DIR": os.devnull}  # of no repository
    done = command.ask(["git", "config", "--list", "-z"], environment=environment, cwd=Path("/"))
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip()
        notices.once("git", f"its settings are not used: {said}")
    rows = done.stdout.decode("utf-8", "surrogateescape").split("\0")
    found: list[tuple[str, str | None]] = []
    for name, line, value in (row.partition("\n") for row in rows if row):
        found.append((name, value if line else None))
    return found


def _instead(url: str, settings: Sequence[tuple[str, str | None]]) -> str:
    """The URL that `url` stands for, by url.<base>.insteadOf: the longest beginning counts."""
    longest, base = "", ""
    for name, value in settings:
        if (
            name.startswith("url.")
            and name.lower().endswith(".insteadof")
            and value
            and url.startswith(value)
            and len(value) > len(longest)
        ):
            longest, base = value, name[len("url.") : -len(".insteadof")]
    return base + url.removeprefix(longest) if longest else url


def _is_for(name: str, host: str) -> bool:
    """Whether a setting has to do with how a server on `host` is reached."""
    section, _, rest = name.partition(".")
    if name.lower() == "core.gitproxy":
        return True
    if section.lower() not in _SETTINGS:
        return False
    url, dot, _ = rest.rpartition(".")
    if section.lower() != "http" or not dot:
        return True
    return fnmatchcase(host, (urlsplit(url).hostname or "").lower())


def _server(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _configuration(settings: Sequence[tuple[str, str | None]]) -> str:
    """A file of settings, see git-config(1), "Syntax"."""
    lines = []
    for name, value in settings:
        section, _, rest = name.partition(".")
        subsection, dot, key = rest.rpartition(".")
        quoted = subsection.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'[{section} "{quoted}"]' if dot else f"[{section}]")
        if value is None:
            lines.append(f"\t{key}")
        else:
            for character, written in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\t", "\\t")):
                value = value.replace(character, written)
            lines.append(f'\t{key} = "{value}"')
    return "\n".join(lines) + "\n"


def _write(path: Path, text: str) -> None:
    """For its owner alone: there may be passwords in it."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(text.encode("utf-8", "surrogateescape"))


def _expanded(path: str, home: str) -> str:
    return home + path[1:] if path.startswith("~/") else path


def _netrc(host: str, home: str, place: Path) -> list[jail.Bind]:
    """The login that ~/.netrc has for `host`, in one for that host alone."""
    path = Path(home) / ".netrc"
    try:
        found = netrc.netrc(str(path)).authenticators(host)
    except FileNotFoundError:
        return []
    except (OSError, netrc.NetrcParseError) as error:
        notices.once("git", f"{path} is not used: {error}")
        return []
    if found is None or any(re.search(r"\s", word or "") for word in found):
        return []
    login, account, password = found
    words = [f"machine {host}", f"login {login}"]
    words += [f"account {account}"] if account else []
    _write(place / "netrc", "\n".join([*words, f"password {password}"]) + "\n")
    return [jail.Bind(place / "netrc", str(path))]


# -- ssh --------------------------------------------------------------------------------------


def _ssh_host(url: str) -> str:
    """The host, as "USER@HOST" where it names a user, that git has ssh log in to; "" for other URLs."""
    if re.match(r"(git\+)?ssh(\+git)?://", url):
        return unquote(urlsplit(url).netloc)
    match = _SCP.match(url)
    return match[1] if match is not None and "://" not in url else ""


def ssh_command(environment: Mapping[str, str], settings: Sequence[tuple[str, str | None]]) -> str:
    """How git calls ssh. Masters of connections that are there are used; none is made inside."""
    own = next((v for k, v in reversed(settings) if k.lower() == "core.sshcommand" and v), "")
    given = environment.get("GIT_SSH_COMMAND") or own or shlex.quote(environment.get("GIT_SSH", ""))
    if given == "''":
        return f"ssh -o BatchMode=yes -o ConnectTimeout={retry.CONNECT:.0f} -o ControlMaster=no"
    return re.sub(r"^((?:\S*/)?ssh)(?=\s|$)", r"\1 -o ControlMaster=no", given)


def _ssh_files(host: str, ssh: str, home: str, account: str) -> tuple[list[str], str]:
    """What ssh reads to log in to `host`, and the socket of the agent ("" for none). `home` is what "~"
    means to a shell, and `account` to ssh, which asks the machine's accounts."""
    files = [f"{account}/.ssh", *_SSH_SYSTEM]
    try:
        words = shlex.split(ssh)
    except ValueError:
        words = []
    files += [_expanded(word.rpartition("=")[2], home) for word in words]
    agent = os.environ.get("SSH_AUTH_SOCK", "")
    target, _, port = host.rpartition("@")[2].partition("]")[0].lstrip("[").partition(":")
    if target and not target.startswith("-") and not host.startswith("-"):
        user, at, _ = host.rpartition("@")
        options = [*(["-p", port] if port.isdigit() else []), *(["-l", user] if at else [])]
        options += _own_options(words)
        for name, value in _ssh_settings([*options, target]):
            if name in _SSH_FILES:
                for path in (_expanded(word, account) for word in value.split()):
                    files += [path, f"{path}.pub", f"{path}-cert.pub"] if name == "identityfile" else [path]
            elif name == "identityagent" and value not in ("SSH_AUTH_SOCK", "$SSH_AUTH_SOCK"):
                agent = "" if value == "none" else _expanded(value, account)
    return files, agent


def _own_options(words: Sequence[str]) -> Iterator[str]:
    """Which settings the user's own command has ssh read."""
    for flag, value in pairwise(words):
        if flag == "-F":
            yield from (flag, value)


def _ssh_settings(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What ssh itself makes of the user's settings for a host (ssh -G)."""
    try:
        done = command.ask_text(["ssh", "-G", *arguments], environment=os.environ, cwd=Path("/"))
    except OSError:
        return
    for line in done.stdout.splitlines():
        name, _, value = line.partition(" ")
        yield name, value


# -- repositories of this machine ---------------------------------------------------------------


def repository(path: Path) -> list[str]:
    """The files of a repository here, or of a bundle: of its working tree nothing. Those, too, that it
    shares with others, or borrows objects from."""
    found: list[str] = []
    for place in (
        path,
        path / ".git",
        Path(f"{path}.git"),
        Path(f"{path}.git/.git"),
        Path(f"{path}.bundle"),
    ):  # as git looks for it
        if _is(place, Path.is_file):
            found.append(str(place))
            place = _line(place, "gitdir: ", place.parent)
        common = _line(place / "commondir", "", place)
        if (_is(place / "HEAD", Path.is_file) or _is(place / "HEAD", Path.is_symlink)) and _is(
            common / "objects", Path.is_dir
        ):
            found += [str(place), str(common), *_borrowed(common / "objects")]
    return list(dict.fromkeys(found))


def _borrowed(objects: Path, depth: int = 0) -> Iterator[str]:
    """The directories that one of objects names as further ones (gitrepository-layout(5))."""
    for line in _lines(objects / "info/alternates") if depth < 5 else ():
        other = Path(os.path.normpath(objects / line))
        if _is(other / "info", Path.is_dir) or _is(other / "pack", Path.is_dir):
            yield str(other)
            yield from _borrowed(other, depth + 1)


def _is(path: Path, what: Callable[[Path], bool]) -> bool:
    """Whether there is such a thing, as far as the user may look (a HEAD of old is a link, which may
    lead nowhere)."""
    try:
        return what(path)
    except OSError:
        return False


def _line(path: Path, start: str, place: Path) -> Path:
    """The path that a file of one line names, from `place` on; `place` when it names none."""
    for line in _lines(path)[:1]:
        if line.startswith(start):
            return Path(os.path.normpath(place / line.removeprefix(start)))
    return place


def _lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            return file.read(1 << 16).decode("utf-8", "surrogateescape").splitlines()
    except OSError:
        return []
