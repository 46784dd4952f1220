"""Libraries that are imported when something of them is first used."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import threading
from store import libraries
wrong = []
def use():
    start.wait()
    try:
        libraries.urllib3.exceptions.HTTPError, libraries.oras_auth.get_auth_backend
    except AttributeError as error:
        wrong.append(error)
start = threading.Barrier(8)
threads = [threading.Thread(target=use) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not wrong, wrong
"""


def test_threads_that_use_one_first_get_all_of_it() -> None:
    """None of them gets a module that another one has but begun to import."""
    for _ in range(3):
        subprocess.run([sys.executable, "-c", CODE], check=True)
