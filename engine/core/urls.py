"""URLs that hold secrets: how they are shown and locked, and how they are made whole again.

A login stands before the host, a token in the query (`?token=…`, a signature of a cloud's storage) or
in the path (`/t/TOKEN/CHANNEL`, as conda has it). `redacted` is what locks, logs, errors, labels and
images get; `restored` puts back what a spec's or this machine's own URL has at the same place. The
query of an index or of a file may be what tells two files apart, so a value that only looks like a
secret leaves a short hash.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from urllib.parse import unquote, urlsplit, urlunsplit

from store.hashing import hash_value

MARK = "***"
# Scheme of an https URL whose server's certificate is not checked; only ever in memory. The bytes
# are held to the lock's SHA-256 all the same.
UNCHECKED = "https+unchecked"

# Names of parameters whose values are secret: a word of the name, or a part of it.
_WORDS = frozenset(
    (
        "tok",
        "sig",
        "pass",
        "pwd",
        "pw",
        "key",
        "code",
        "jwt",
        "sas",
        "session",
        "hmac",
        "bearer",
        "access",
        "private",
        "sid",
        "auth",
    )
)
_PARTS = re.compile(r"token|secret|passw|signature|credential|apikey|authoriz|authent|privatekey")
# A path's part after which a token stands (packagecloud and others). conda's "t" is the first part:
# further below, archives sort packages by their first letter (pool/main/t/tzdata).
_BEFORE_TOKENS = frozenset(("priv", "token", "tokens"))
_FIRST_BEFORE_TOKENS = "t"
# As well-known services make them.
_PREFIXES = re.compile(
    r"(gh[pousr]_|github_pat_|glpat-|gl[a-z]{2,4}t-|hvs\.|xox[a-z]-|sk-|pypi-|AKIA|ASIA|npm_|dckr_pat_|hf_)"
)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>`|\\^{}]+")


def without_login(url: str) -> str:
    """`url` as a request names it: without user name and password."""
    parts = urlsplit(url)
    scheme = "https" if parts.scheme == UNCHECKED else parts.scheme
    return urlunsplit(parts._replace(scheme=scheme, netloc=parts.netloc.rpartition("@")[2]))


def redacted(url: str) -> str:
    """`url` without its secrets: no login, MARK for a token. What holds none stays as it is."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return MARK
    if not parts.scheme or "://" not in url:
        return url
    scheme = "https" if parts.scheme == UNCHECKED else parts.scheme
    found = parts._replace(scheme=scheme)
    if scheme not in ("ssh", "git+ssh") or parts.password:  # "git@" names no secret
        found = found._replace(netloc=parts.netloc.rpartition("@")[2])
    if scheme != "file":
        found = found._replace(
            path="/".join(_segments(parts.path)),
            query=_query(parts.query),
            fragment=_query(parts.fragment) if "=" in parts.fragment else parts.fragment,
        )
    # urlunsplit drops what is empty: what holds no secret stays the same, byte for byte
    return urlunsplit(found) if found != parts else url


def hidden(text: str) -> str:
    """`text` with every URL in it redacted."""
    return _URL.sub(lambda match: redacted(match[0]), text) if "://" in text else text


def secrets_of(text: str) -> Iterator[str]:
    """The secrets of every URL in `text`, as they stand there and decoded."""
    for match in _URL.finditer(text):
        try:
            parts = urlsplit(match[0])
        except ValueError:
            continue
        login = parts.netloc.rpartition("@")[0]
        user, _, password = login.partition(":")
        found = [password] if password else [user] if parts.scheme != "ssh" else []
        path = parts.path.split("/")
        found += [own for own, said in zip(path, _segments(parts.path), strict=True) if own != said]
        for query in (parts.query, parts.fragment):
            found += [word.partition("=")[2] for word in query.split("&") if _parameter(word) != word]
        for secret in found:
            yield from {secret, unquote(secret)} - {"", MARK}


def restored(url: str, given: str) -> str:
    """`url` with the secrets that `given` has at the same places, when it is of the same server."""
    try:
        one, other = urlsplit(url), urlsplit(given)
    except ValueError:
        return url
    whole = one
    login, _, host = other.netloc.rpartition("@")
    if (one.scheme, one.netloc) != (other.scheme, host):
        return url
    if login:
        one = one._replace(netloc=f"{login}@{host}")
    own, said = other.path.split("/"), _segments(other.path)
    path = one.path.split("/")
    for number, (segment, secret) in enumerate(zip(said, own, strict=True)):
        if path[number : number + 1] != [segment]:
            break
        path[number] = secret
    one = one._replace(path="/".join(path))
    if MARK in one.query:
        values = {_parameter(word): word for word in other.query.split("&")}
        one = one._replace(query="&".join(values.get(w, w) for w in one.query.split("&")))
    return urlunsplit(one) if one != whole else url


def _segments(path: str) -> list[str]:
    """The parts of a path, redacted."""
    parts = path.split("/")
    return [
        _obscure(
            part,
            known=number + 1 < len(parts)
            and len(part) > 3
            and (
                parts[:number] == ["", _FIRST_BEFORE_TOKENS]
                or (number > 0 and parts[number - 1] in _BEFORE_TOKENS)
            ),
        )
        for number, part in enumerate(parts)
    ]


def _query(query: str) -> str:
    return "&".join(_parameter(word) for word in query.split("&"))


def _parameter(word: str) -> str:
    name, equals, value = word.partition("=")
    if not equals:
        return _obscure(word, known=False)
    plain = unquote(name)
    words = re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", plain).lower())
    known = bool(_WORDS.intersection(words) or _PARTS.search("".join(words)))
    return f"{name}={_obscure(value, known=known)}" if value else word


def _obscure(text: str, *, known: bool) -> str:
    """MARK for a secret that is `known` to be one, and one with a hash for what looks like one."""
    if not text or text.startswith(MARK):
        return text
    if known:
        return MARK
    plain = unquote(text)
    made = _PREFIXES.match(plain)  # a file's name may begin like that, but goes on with dots
    known_form = made and re.fullmatch(r"(?=.*[0-9])[A-Za-z0-9_-]{15,}", plain[made.end() :])
    if _is_random(plain) or known_form:
        return f"{MARK}{hash_value('envd secret in a URL v1', plain)[:8]}"
    return text


def _is_random(text: str) -> bool:
    """Whether `text` looks drawn from letters and digits: these change kind at every second place
    then, in names (Meta-Llama-3-8B-Instruct-GGUF, SomePackageName2024) at every fourth."""
    if not re.fullmatch(r"[A-Za-z0-9_~+/=-]{20,}", text) or not all(
        re.search(kind, text) for kind in ("[a-z]", "[A-Z]", "[0-9]")
    ):
        return False
    kinds = [[c.isdigit() + 2 * c.isupper() for c in part] for part in re.findall("[A-Za-z0-9]+", text)]
    pairs = [pair for part in kinds for pair in pairwise(part)]
    changes = sum(1 for one, other in pairs if one != other)
    return changes >= 0.4 * len(pairs)
