"""Build steps that reach for the kernel through /proc: as root they would be the host's root."""

from __future__ import annotations

import re
from pathlib import Path

from tests.integration.envd import Envd

# A step that finds each of these as it should be says so.
STEP = """
for file in kernel/core_pattern kernel/panic vm/overcommit_memory fs/suid_dumpable fs/file-max \\
    kernel/randomize_va_space fs/protected_symlinks kernel/hostname vm/drop_caches; do
    [ -e /proc/sys/$file ] || continue
    value=$(cat /proc/sys/$file 2>/dev/null || echo 0)
    if (echo "$value" > /proc/sys/$file) 2>/dev/null; then echo "WRITTEN-$file"; fi
done
if (echo h > /proc/sysrq-trigger) 2>/dev/null; then echo "WRITTEN-sysrq-trigger"; fi
for file in keys kcore kmsg kallsyms timer_list slabinfo iomem vmallocinfo interrupts; do
    if head -c 1 /proc/$file 2>/dev/null | grep -qa .; then echo "READ-$file"; fi
done
for directory in acpi scsi asound; do
    [ -z "$(ls -A /proc/$directory 2>/dev/null)" ] || echo "SEEN-$directory"
done
mount -o remount,rw /proc/sys 2>/dev/null && echo "REMOUNTED-sys"
umount /proc/sys 2>/dev/null && echo "UNMOUNTED-sys"
# inside the pid namespace and in the step's own world, /proc works as always
[ "$(cat /proc/self/comm)" = cat ] && [ -r /proc/meminfo ] && [ -r /proc/sys/kernel/pid_max ]
echo looked
"""
SPEC = """
def build():
    base(os="debian12")
    run([{step!r}])
"""


def test_the_kernel_is_not_the_steps(shared_store: Path, tmp_path: Path) -> None:
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    envd = Envd(shared_store, tmp_path / "project")
    envd.spec(SPEC.format(step=STEP))
    outcome = envd.run("build", "--force", "--progress", "plain", "-o", "oci:out.tar", check=False)
    assert outcome.code == 0, outcome.stderr[-2000:]
    assert "looked" in outcome.stderr, outcome.stderr[-2000:]
    found = re.findall(r"(?:WRITTEN|READ|SEEN|REMOUNTED|UNMOUNTED)-.*", outcome.stderr)
    assert found == []
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before
