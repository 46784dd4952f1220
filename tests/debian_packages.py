"""Popular Debian packages, in groups that can be installed together. Every group is built twice:
those of `GROUPS` by `make test`, those of `LARGE` by `make test-large`."""

from __future__ import annotations

GROUPS: dict[str, tuple[str, ...]] = {
    # What maintainer scripts make keys, ids and databases for.
    "servers": (
        "apache2", "avahi-daemon", "bind9", "chrony", "cron", "dbus", "dnsmasq", "dovecot-imapd",
        "dropbear", "haproxy", "krb5-kdc", "lighttpd", "logrotate", "mariadb-server", "mdadm",
        "memcached", "mosquitto", "munge", "nginx", "nvme-cli", "open-iscsi", "openssh-server",
        "openvpn", "popularity-contest", "postfix", "postgresql", "redis-server", "rsyslog",
        "slapd", "snmpd", "squid", "ssl-cert", "sudo", "supervisor", "tor", "uuid-runtime",
        "vsftpd", "xrdp",
    ),
    # What has caches and databases of files: man, info, fonts, MIME types, icons, locales, catalogs.
    "tools": (
        "bash-completion", "bat", "bc", "bind9-dnsutils", "bsdextrautils", "bzip2", "ca-certificates",
        "curl", "dialog", "dos2unix", "emacs-nox", "fd-find", "file", "fish", "fontconfig",
        "fonts-dejavu", "fonts-liberation", "fzf", "gettext", "ghostscript", "git", "git-lfs",
        "gnupg", "graphviz", "groff", "htop", "imagemagick", "info", "iotop", "iproute2",
        "iputils-ping", "jq", "less", "libgdk-pixbuf2.0-0", "libgl1", "libglib2.0-0", "libgtk-3-0",
        "libsm6", "libxext6", "libxrender1", "locales", "lsof", "man-db", "mercurial", "moreutils",
        "nano", "ncdu", "net-tools", "netcat-openbsd", "nmap", "p7zip-full", "parallel", "patch",
        "plocate", "poppler-utils", "procps", "psmisc", "pv", "ripgrep", "rsync", "screen",
        "sgml-base", "shared-mime-info", "socat", "sqlite3", "strace", "subversion", "sysstat",
        "systemd", "tcpdump", "time", "tmux", "traceroute", "tree", "unzip", "vim", "wget", "xauth",
        "xml-core", "xvfb", "xz-utils", "zip", "zsh", "zstd",
    ),
    # What compiles when it is installed (Python, Java's keystore, TeX's formats), and what compiles.
    "languages": (
        "autoconf", "automake", "bison", "build-essential", "ccache", "cmake", "cython3",
        "default-jre-headless", "flex", "g++", "gcc", "gdb", "gfortran", "gnuplot-nox",
        "hdf5-tools", "ipython3", "libblas-dev", "libboost-dev", "libbz2-dev",
        "libcurl4-openssl-dev", "libdbi-perl", "libeigen3-dev", "libffi-dev", "libfftw3-dev",
        "libgmp-dev", "libgsl-dev", "libhdf5-dev", "libjpeg-dev", "libjson-perl", "liblapack-dev",
        "liblzma-dev", "libncurses-dev", "libopenblas-dev", "libpng-dev", "libpq-dev",
        "libprotobuf-dev", "libreadline-dev", "libsqlite3-dev", "libssl-dev", "libtool",
        "libwww-perl", "libxml2-dev", "libyaml-dev", "libzmq3-dev", "ltrace", "lua5.4", "m4", "make",
        "meson", "nasm", "ninja-build", "nodejs", "perl", "php-cli", "pkg-config",
        "protobuf-compiler", "python3", "python3-bs4", "python3-cffi", "python3-cryptography",
        "python3-dev", "python3-h5py", "python3-jinja2", "python3-lxml", "python3-matplotlib",
        "python3-numpy", "python3-pandas", "python3-pil", "python3-pip", "python3-psycopg2",
        "python3-pytest", "python3-requests", "python3-scipy", "python3-setuptools", "python3-venv",
        "python3-yaml", "r-base-core", "ruby", "swig", "tcl", "texlive-latex-base", "zlib1g-dev",
    ),
}

LARGE: dict[str, tuple[str, ...]] = {
    "large-servers": (
        "cups", "exim4", "fail2ban", "isc-dhcp-client", "nfs-common", "ntpsec", "rabbitmq-server",
        "samba", "slurmctld", "slurmd", "udev", "x11vnc",
    ),
    "large-languages": (
        "ant", "cargo", "clang", "default-jdk", "golang", "llvm", "lua-socket", "maven", "npm",
        "ocaml-nox", "openjdk-17-jdk", "php", "ruby-dev", "rustc", "valgrind",
    ),
    "large-science": (
        "ffmpeg", "gdal-bin", "libopenmpi-dev", "octave", "openmpi-bin", "pandoc", "python3-opencv",
        "python3-sklearn", "r-base", "sox", "tesseract-ocr", "texlive-latex-recommended",
        "texlive-luatex", "texlive-metapost", "texlive-xetex",
    ),
    "large-desktop": (
        "ansible", "ca-certificates-java", "docker.io", "firefox-esr", "fonts-noto-core",
        "libgtk-3-dev", "libqt5gui5", "libreoffice-core", "qtbase5-dev", "x11-apps",
    ),
}
