"""A CUDA that is none: the calls of cuda-python that edgezoo makes, on this machine's own memory.

What it proves: which calls are made, in which order, with which addresses and sizes; that everything is freed, and
nothing touched after; that what is asynchronous is waited for; that what a graph may not capture is not captured.
What it cannot: that a driver agrees, and how long anything takes. `_memory.py` says where it is stricter.

The environment chooses what is there: `FAKE_GPU=NVIDIA Orin:8.7` (name:capability, `;` between several),
`FAKE_DRIVER=12060`, `FAKE_RUNTIME=12060`; `FAKE_CUDA=none` (no driver, as cuda-python 12.9 and 13 answer then),
`unloadable` (no driver, as 12.6 and older raise then) or `nodevice`; `FAKE_CUDA_PYTHON=old` (the package before 12.6,
which has `cuda.cudart` and no `cuda.bindings`).
"""
