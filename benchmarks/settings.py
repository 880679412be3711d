"""
The settings in which the contenders of a case run: allocator, event loop, Python.

This module is not run directly; `--settings` selects settings by their names.
"""

from attrs import frozen

# asyncio reads into new blocks of 256 KiB. The time that glibc takes for such a block
# depends on what a process has freed before, by accident or on purpose. With these
# thresholds, it keeps blocks of up to 4 MiB from the start.
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "4194304",
    "MALLOC_TRIM_THRESHOLD_": "8388608",
}


@frozen
class Setting:
    """
    The conditions in which a worker runs.

    Attributes:
        name: Name on the command line and in tables.
        equal_malloc: If True, the worker has the environment variables of `MALLOC`.
        uvloop: If True, run on uvloop instead of asyncio's own event loop.
        environment: Environment whose Python runs the worker (`environments.py`); ""
            for that of the harness.
    """

    name: str
    equal_malloc: bool = False
    uvloop: bool = False
    environment: str = ""


AS_INSTALLED = Setting("as installed")
EQUAL_MALLOC = Setting("equal malloc", equal_malloc=True)
UVLOOP = Setting("uvloop", uvloop=True)
PYTHON_3_12 = Setting("python3.12", environment="python3.12")
PYTHON_3_13 = Setting("python3.13", environment="python3.13")

# Settings that are compared with `AS_INSTALLED`, in a table of their own.
INTERPRETERS = (UVLOOP, PYTHON_3_12, PYTHON_3_13)
SETTINGS = (AS_INSTALLED, EQUAL_MALLOC, *INTERPRETERS)
