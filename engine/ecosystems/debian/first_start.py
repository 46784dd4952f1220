"""First start: what every machine has for itself, and no image may hold or could hold twice alike.

Maintainer scripts make such things when a package is installed: ssh host keys, a self-signed
certificate, a database cluster, the id of the machine. They are taken out of the layer; in their
place it gets one small script (SCRIPT) and a recipe for each, which makes the thing where it is
missing. The script is run by

- the image's entry point, before anything else (all recipes);
- `service NAME start` and /etc/init.d/NAME, through /lib/lsb/init-functions, which reads the files
  of /lib/lsb/init-functions.d (the recipes of that service): in `run` steps, too.

As another user than root, the script does nothing but start the command.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from engine.realise import confined

SCRIPT = "/etc/envd/first-start"
RECIPES = "/etc/envd/first-start.d"
ENTRY = (SCRIPT, "--")  # an entry point: the command follows

_HOOK = "usr/lib/lsb/init-functions.d/00-envd"

_SCRIPT = f"""\
#!/bin/sh
# Made by envd. Makes what no image may hold (keys, ids, databases), where it is missing:
#   first-start                  everything
#   first-start --for SERVICE    what an init script needs
#   first-start -- COMMAND...    everything, then the command in its place
if [ "$(id -u)" = 0 ]; then
    service=
    [ "${{1-}}" != --for ] || service=$2
    for recipe in {RECIPES}/*; do
        [ -e "$recipe" ] || continue
        said=$(umask 022; cd / && sh -e "$recipe" "$service" 2>&1 </dev/null) ||
            printf 'envd: first start of %s failed: %s\\n' "${{recipe##*/}}" "$said" >&2
    done
fi
[ "${{1-}}" != -- ] || {{ shift; exec "$@"; }}
"""

# Of init-d-script(5), $0 is not the script's name, and the arguments are shifted.
_HOOK_SCRIPT = f"""\
# Made by envd: a service that starts finds what its packages make for each machine.
case "${{1-}}" in
    start|restart|force-reload|try-restart)
        [ ! -x {SCRIPT} ] || {SCRIPT} --for "$(basename "${{__init_d_script_name:-$0}}")" ;;
esac
"""


@dataclass(frozen=True)
class Recipe:
    """One thing. `packages` are those whose maintainer scripts make it (regular expressions of
    whole names), `made` where it then is (patterns), `services` the init scripts that need it
    (none: all), `script` what makes it where it is missing, for `sh -e`.

    `data` tells what may hold a user's work from what is a key or an id: it stays when a `run`
    made it."""

    name: str
    what: str
    packages: tuple[str, ...]
    made: tuple[str, ...]
    services: tuple[str, ...]
    script: str
    data: bool = False

    @property
    def text(self) -> str:
        """The file that the layer gets."""
        head = f"# Made by envd: {self.what}.\n"
        if self.services:
            names = "|".join(("''", *self.services))
            head += f'case "$1" in {names}) ;; *) exit 0 ;; esac\n'
        return head + self.script


RECIPES_BY_ORDER = (
    Recipe(
        "10-machine-id",
        "the id of the machine",
        ("dbus(-bin|-daemon)?",),
        ("var/lib/dbus/machine-id",),
        (),
        "[ -s /etc/machine-id ] || [ -s /var/lib/dbus/machine-id ] || dbus-uuidgen --ensure\n",
    ),
    Recipe(
        "10-snakeoil",
        "the self-signed certificate of ssl-cert",
        ("ssl-cert",),
        ("etc/ssl/private/ssl-cert-snakeoil.key", "etc/ssl/certs/ssl-cert-snakeoil.pem"),
        (),
        "[ -s /etc/ssl/private/ssl-cert-snakeoil.key ] && "
        "[ -s /etc/ssl/certs/ssl-cert-snakeoil.pem ] ||\n"
        "    make-ssl-cert generate-default-snakeoil --force-overwrite\n",
    ),
    Recipe(
        "20-ssh",
        "the host keys of OpenSSH",
        ("openssh-server",),
        ("etc/ssh/ssh_host_*_key*",),
        ("ssh",),
        'for key in /etc/ssh/ssh_host_*_key; do [ ! -e "$key" ] || exit 0; done\nssh-keygen -A\n',
    ),
    Recipe(
        "20-dropbear",
        "the host keys of Dropbear",
        ("dropbear", "dropbear-initramfs"),
        ("etc/dropbear/dropbear_*_host_key", "etc/dropbear/initramfs/dropbear_*_host_key"),
        ("dropbear",),
        "for type in rsa ecdsa ed25519; do\n"
        "    key=/etc/dropbear/dropbear_${type}_host_key\n"
        '    [ -e "$key" ] || dropbearkey -t "$type" -f "$key"\n'
        "done\n",
    ),
    Recipe(
        "20-munge",
        "the key of munge",
        ("munge",),
        ("etc/munge/munge.key",),
        ("munge",),
        "[ -s /etc/munge/munge.key ] || su munge -s /bin/sh -c 'mungekey -c'\n",
    ),
    Recipe(
        "20-bind",
        "the key of rndc",
        ("bind9",),
        ("etc/bind/rndc.key",),
        ("named", "bind9"),
        "[ -s /etc/bind/rndc.key ] || [ -s /etc/bind/rndc.conf ] || {\n"
        "    rndc-confgen -a\n"
        "    chown bind:bind /etc/bind/rndc.key\n"
        "    chmod 640 /etc/bind/rndc.key\n"
        "}\n",
    ),
    Recipe(
        "20-rabbitmq",
        "the Erlang cookie of RabbitMQ",
        ("rabbitmq-server",),
        ("var/lib/rabbitmq/.erlang.cookie",),
        ("rabbitmq-server",),
        "cookie=/var/lib/rabbitmq/.erlang.cookie\n"
        '[ -s "$cookie" ] || {\n'
        "    umask 077\n"
        '    openssl rand -base64 -out "$cookie" 42\n'
        '    chmod 400 "$cookie"\n'
        '    chown rabbitmq:rabbitmq "$cookie"\n'
        "}\n",
    ),
    Recipe(
        "20-postfix",
        "the database of mail aliases",
        ("postfix",),
        ("etc/aliases.db",),
        ("postfix",),
        "[ -e /etc/aliases.db ] || [ ! -e /etc/aliases ] || newaliases\n",
    ),
    Recipe(
        "20-xrdp",
        "the RSA key of xrdp",
        ("xrdp",),
        ("etc/xrdp/rsakeys.ini",),
        ("xrdp",),
        "[ -s /etc/xrdp/rsakeys.ini ] || {\n"
        "    umask 077\n"
        "    xrdp-keygen xrdp auto\n"
        "    chown xrdp /etc/xrdp/rsakeys.ini\n"
        "}\n",
    ),
    Recipe(
        "20-iscsi",
        "the name of the iSCSI initiator",
        ("open-iscsi",),
        ("etc/iscsi/initiatorname.iscsi",),
        ("iscsid", "open-iscsi"),
        "[ -s /etc/iscsi/initiatorname.iscsi ] || {\n"
        "    umask 077\n"
        "    name=$(iscsi-iname -p iqn.1993-08.org.debian:01)\n"
        '    echo "InitiatorName=$name" >/etc/iscsi/initiatorname.iscsi\n'
        "}\n",
    ),
    Recipe(
        "20-nvme",
        "the ids of the NVMe host",
        ("nvme-cli",),
        ("etc/nvme/hostnqn", "etc/nvme/hostid"),
        (),
        "[ -s /etc/nvme/hostnqn ] || nvme gen-hostnqn >/etc/nvme/hostnqn\n"
        "[ -s /etc/nvme/hostid ] || uuidgen >/etc/nvme/hostid\n",
    ),
    Recipe(
        "30-slapd",
        "the database and the configuration of OpenLDAP",
        ("slapd",),
        ("var/lib/ldap/*", "etc/ldap/slapd.d/*"),
        ("slapd",),
        # By the package's own scripts, which would start the server, too.
        "[ -d /etc/ldap/slapd.d ] && [ ! -e /etc/ldap/slapd.d/cn=config.ldif ] || exit 0\n"
        "policy=/usr/sbin/policy-rc.d\n"
        '[ ! -e "$policy" ] || policy=\n'
        "[ -z \"$policy\" ] || { printf '#!/bin/sh\\nexit 101\\n' >$policy; chmod 755 $policy; }\n"
        "status=0\n"
        "DEBIAN_FRONTEND=noninteractive dpkg-reconfigure slapd || status=$?\n"
        '[ -z "$policy" ] || rm -f $policy\n'
        "exit $status\n",
        data=True,
    ),
    # Its settings stay in /etc/postgresql, where a spec may change them: what is made is data.
    Recipe(
        "30-postgresql",
        "the database clusters of PostgreSQL",
        (r"postgresql-[0-9.]+",),
        ("var/lib/postgresql/*/*",),
        ("postgresql",),
        "for settings in /etc/postgresql/*/*/postgresql.conf; do\n"
        '    [ -e "$settings" ] || continue\n'
        "    place=${settings%/postgresql.conf}\n"
        "    name=${place##*/}\n"
        "    place=${place%/*}\n"
        "    version=${place##*/}\n"
        '    data=$(pg_conftool -s "$version" "$name" show data_directory)\n'
        '    [ ! -e "$data/PG_VERSION" ] || continue\n'
        '    locale=$(pg_conftool -s "$version" "$name" show lc_messages 2>/dev/null) ||\n'
        "        locale=C.UTF-8\n"
        '    owner=$(stat -c %U "$settings")\n'
        '    install -d -m 700 -o "$owner" -g "$(stat -c %G "$settings")" "$data"\n'
        '    runuser -u "$owner" -- "/usr/lib/postgresql/$version/bin/initdb" -D "$data" \\\n'
        '        -A peer --locale "$locale" --encoding UTF8\n'
        '    rm -f "$data/postgresql.conf" "$data/pg_hba.conf" "$data/pg_ident.conf"\n'
        "done\n",
        data=True,
    ),
    Recipe(
        "30-mariadb",
        "the database of MariaDB",
        (r"mariadb-server(-[0-9.]+)?",),
        ("var/lib/mysql/*",),
        ("mariadb", "mysql"),
        "[ ! -d /var/lib/mysql/mysql ] || exit 0\n"
        "install -d -m 755 -o mysql -g mysql /var/lib/mysql\n"
        "exec bash /usr/bin/mysql_install_db --rpm --cross-bootstrap --user=mysql \\\n"
        "    --disable-log-bin --skip-test-db\n",
        data=True,
    ),
)


def wanted(packages: Iterable[str]) -> bool:
    """Whether installing `packages` (names) leaves something to the first start."""
    return any(_asks(recipe, name) for name in packages for recipe in RECIPES_BY_ORDER)


def _asks(recipe: Recipe, package: str) -> bool:
    return any(re.fullmatch(pattern, package) for pattern in recipe.packages)


def take_out(upper: Path, packages: Iterable[str], *, data: bool) -> list[str]:
    """Take such things out of `upper` and put in what makes them; what was taken, in words.

    `packages` are those that were installed here. What may hold a user's work is taken only
    with `data`.
    """
    names = list(packages)
    taken, asked = [], []
    for recipe in RECIPES_BY_ORDER:
        found = False
        if data or not recipe.data:
            for pattern in recipe.made:
                for path in confined.find(upper, pattern, whiteouts=False):
                    found = confined.remove(upper, path) or found
        if found:
            taken.append(recipe.what)
        if found or any(_asks(recipe, name) for name in names):
            asked.append(recipe)
    for recipe in asked:
        confined.add(upper, f"{RECIPES[1:]}/{recipe.name}", recipe.text.encode(), 0o644)
    if asked:
        confined.add(upper, SCRIPT[1:], _SCRIPT.encode(), 0o755)
        confined.add(upper, _HOOK, _HOOK_SCRIPT.encode(), 0o644)
    _unlink_certificate(upper)
    return taken


def forget(upper: Path, name: str) -> None:
    """Take a recipe out again."""
    for path in confined.find(upper, f"{RECIPES[1:]}/{name}", whiteouts=False):
        confined.remove(upper, path)


def _unlink_certificate(upper: Path) -> None:
    """The name by hash that make-ssl-cert gives its certificate: it would point nowhere."""
    gone = "ssl-cert-snakeoil.pem"
    if confined.find(upper, f"etc/ssl/certs/{gone}", whiteouts=False):
        return
    for path in confined.find(upper, "etc/ssl/certs/*.[0-9]"):
        if (confined.link_target(upper, path) or "").rpartition("/")[2] == gone:
            confined.remove(upper, path)
