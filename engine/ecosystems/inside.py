"""What an image holds for its environment: names, places and ports, as whoever starts one finds them."""

from __future__ import annotations

# Of a development environment.
USER = "envd"
HOME = f"/home/{USER}"
SSH_PORT = 2222  # in a container that has a network of its own
AUTHORIZED_KEYS = "/etc/envd/ssh/authorized_keys"
HOST_KEY = "/etc/envd/ssh/host_ed25519"
LABEL = "io.envd.runtime"  # JSON: what starting a container needs to know
# Of services.
ENTRY = "/usr/local/bin/envd-init"
INIT_STATE = "/run/envd/init"
INIT_LOG = "/var/log/envd/init.log"
# Whoever reaches a server with a shell in it is its user, so each has a token or password. What is
# here is root's (0600): the spec's own token, or what `envd up` has made up for this container. It gets
# to the server as a variable or a file of that process alone: command lines, an image's configuration
# and a container's labels are read by others.
PRIVATE = "/etc/envd/private"
JUPYTER_TOKEN = f"{PRIVATE}/jupyter-token"
RSTUDIO_PASSWORD = f"{PRIVATE}/rstudio-password"
RSTUDIO_PORT = 8787
