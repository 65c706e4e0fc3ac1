"""Locks the clock of a GPU's SMs, and frees it again.

That is done by a process of its own, which frees the clock when what it reads from the program ends: a program can be killed,
and its GPU must not stay slow for that. Whether someone had locked the clock before is not known; it is free afterwards.
"""

import contextlib
import ctypes
import json
import pathlib
import signal
import subprocess
import sys

from . import Skipped

# nvmlClockType_t.
CLOCK_SM = 1


@contextlib.contextmanager
def locked(uuid, share):
    """Within it the clock is locked at a share of its highest, and known in MHz."""
    # Out of the group of processes that a terminal interrupts all at once.
    keeper = subprocess.Popen(
        [sys.executable, "-m", "programs.clocks", uuid, str(share)], cwd=pathlib.Path(__file__).resolve().parent.parent,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )
    try:
        said = json.loads(keeper.stdout.readline() or '{"lacking": "what locks clocks ended"}')
        if "lacking" in said:
            raise Skipped(said["lacking"])
        yield said["mhz"]
    finally:
        keeper.stdin.close()
        keeper.wait(30)
        keeper.stdout.close()
    if keeper.returncode != 0:
        raise RuntimeError("the clock may still be locked: nvidia-smi --reset-gpu-clocks frees it")


def keep(uuid, share):
    """Locks the clock for as long as someone is there who wants it."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError as error:
        return say(lacking=f"NVML cannot be loaded: {error}")
    nvml.nvmlErrorString.restype = ctypes.c_char_p
    device, mhz = ctypes.c_void_p(), ctypes.c_uint()

    def refused(code):
        if code != 0:
            say(lacking=f"clocks cannot be locked: {nvml.nvmlErrorString(code).decode()}")
        return code != 0

    if (
        refused(nvml.nvmlInit_v2())
        or refused(nvml.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(device)))
        or refused(nvml.nvmlDeviceGetMaxClockInfo(device, CLOCK_SM, ctypes.byref(mhz)))
    ):
        return
    wanted = ctypes.c_uint(int(mhz.value * share))
    if refused(nvml.nvmlDeviceSetGpuLockedClocks(device, wanted, wanted)):
        return
    try:
        say(mhz=wanted.value)
        sys.stdin.read()
    finally:
        code = nvml.nvmlDeviceResetGpuLockedClocks(device)
        if code != 0:
            sys.exit(f"the clock stays locked: {nvml.nvmlErrorString(code).decode()}")


def say(**said):
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    keep(sys.argv[1], float(sys.argv[2]))
