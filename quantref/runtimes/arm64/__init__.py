"""LiteRT's wheel for 64-bit Arm on another machine: ``python -m quantref.runtimes.arm64 setup``.

The same release of LiteRT rounds otherwise on Arm than on x86-64. This lays down a small Arm system in a folder: a
Python, the wheels of LiteRT and NumPy, and, if the machine has none, QEMU's user-mode emulator, which runs it
instruction by instruction. It needs ``apt-get`` (Debian, Ubuntu and their kin) with the sources of arm64, and pip, and
no rights of an administrator: nothing outside the folder changes.

The folder is the one named by ``QUANTREF_ARM64``, or ``quantref/arm64`` in the user's cache. On an Arm machine none of
this is needed.
"""

from quantref.runtimes.arm64.launch import VARIABLE, foreign_launcher, home

__all__ = ["VARIABLE", "foreign_launcher", "home"]
