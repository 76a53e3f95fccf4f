"""What an emulated Arm processor looks like to a program that asks the system.

LiteRT's and XNNPACK's detection of the processor reads files below ``/proc`` and ``/sys``; a user-mode emulator would
show them those of the machine that it runs on, unless they lie in the folder of the Arm system.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Cpu:
    """A core: its part number at Arm, and the features that Linux lists."""

    part: str
    features: str


_PLAIN = "fp asimd evtstrm aes pmull sha1 sha2 crc32"
#: Cores that can be emulated: one without and one with dot products and half-precision arithmetic.
CPUS: Mapping[str, Cpu] = {
    "cortex-a72": Cpu("0xd08", f"{_PLAIN} cpuid"),
    "neoverse-n1": Cpu("0xd0c", f"{_PLAIN} atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs"),
}


def describe_cpu(folder: Path, cpu: str) -> None:
    """Write the files that describe a core into an Arm system, and the name of the core into its file ``cpu``."""
    core = CPUS[cpu]
    lines = {
        "processor": "0",
        "BogoMIPS": "50.00",
        "Features": core.features,
        "CPU implementer": "0x41",
        "CPU architecture": "8",
        "CPU variant": "0x0",
        "CPU part": core.part,
        "CPU revision": "3",
    }
    cpus = "sys/devices/system/cpu"
    lists = ("core_siblings_list", "thread_siblings_list", "package_cpus_list", "cluster_cpus_list", "core_cpus_list")
    files = {
        "proc/cpuinfo": "".join(f"{name}\t: {value}\n" for name, value in lines.items()) + "\n",
        f"{cpus}/kernel_max": "7\n",
        f"{cpus}/cpu0/cpufreq/cpuinfo_max_freq": "1500000\n",
        **{f"{cpus}/{name}": "0\n" for name in ("possible", "present", "online")},
        **{f"{cpus}/cpu0/topology/{name}": "0\n" for name in ("core_id", "physical_package_id", *lists)},
        "cpu": f"{cpu}\n",
    }
    for place, text in files.items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
