"""Other runtimes, to compare with: LiteRT's three op resolvers, each in a child process that may die."""

from quantref.runtimes.failures import RuntimeCrashed, RuntimeFailure, RuntimeRefused, RuntimeTimedOut
from quantref.runtimes.litert import LiteRT, ModelSource, RunOptions, RuntimeOutputs, Sample, litert_installed
from quantref.runtimes.table import ALL_RUNTIMES, ARM64_RUNTIMES, RUNTIMES, Resolver, Runtime, find_runtime

__all__ = [
    "ALL_RUNTIMES",
    "ARM64_RUNTIMES",
    "RUNTIMES",
    "LiteRT",
    "ModelSource",
    "Resolver",
    "RunOptions",
    "Runtime",
    "RuntimeCrashed",
    "RuntimeFailure",
    "RuntimeOutputs",
    "RuntimeRefused",
    "RuntimeTimedOut",
    "Sample",
    "find_runtime",
    "litert_installed",
]
