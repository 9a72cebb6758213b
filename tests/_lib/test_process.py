"""How much memory a process holds, by each system's own figure."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from voice_daemon._lib.process import footprint_bytes, resident_mb

STAND_IN = """
#include <stdint.h>
#include <string.h>
#include <unistd.h>
struct rusage_info_v0 {  /* sys/resource.h of macOS */
    uint8_t ri_uuid[16];
    uint64_t ri_user_time, ri_system_time, ri_pkg_idle_wkups, ri_interrupt_wkups, ri_pageins;
    uint64_t ri_wired_size, ri_resident_size, ri_phys_footprint;
    uint64_t ri_proc_start_abstime, ri_proc_exit_abstime;
};
int proc_pid_rusage(int pid, int flavor, void *buffer) {
    if (pid != getpid() || flavor != 0) return -1;
    struct rusage_info_v0 *info = buffer;
    memset(info, 0xff, sizeof *info);
    info->ri_phys_footprint = 345 * 1024 * 1024;
    return 0;
}
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler (cc)")
def test_the_footprint_of_macos_is_read_from_its_place(tmp_path: Path) -> None:
    source, library = tmp_path / "libproc.c", tmp_path / "libproc.so"
    source.write_text(STAND_IN)
    command = ["cc", "-shared", "-fPIC", "-o", str(library), str(source)]
    subprocess.run(command, check=True)
    assert footprint_bytes(str(library)) == 345 * 2**20


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has it")
def test_elsewhere_there_is_no_such_figure() -> None:
    with pytest.raises(AttributeError):
        footprint_bytes()


def test_memory_that_was_given_back_no_longer_counts() -> None:
    before = resident_mb()
    held = bytearray(80 * 2**20)
    held[::4096] = b"x" * len(held[::4096])
    assert resident_mb() >= before + 60
    del held
    assert resident_mb() < before + 40


LEFT = """
import os, signal
from voice_daemon._lib.signals import EarlySignals
with EarlySignals(wanted=True):
    pass
os.kill(os.getpid(), signal.SIGTERM)
os.kill(os.getpid(), signal.SIGHUP)
"""


def test_a_signal_after_the_end_changes_no_exit_code() -> None:
    assert subprocess.run([sys.executable, "-c", LEFT], check=False).returncode == 0
