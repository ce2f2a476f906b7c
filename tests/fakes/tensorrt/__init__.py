"""A TensorRT that is none: the names of a chosen version, over ONNX Runtime on this machine's CPU.

What it proves: which of TensorRT's names are used, in which order, with which memory and on which stream, what is
done about its refusals, and that the right numbers come home. What it cannot: anything about TensorRT itself. Which
graphs it takes, how it fuses and rounds, how long it builds and how fast it runs is only seen where it is.

`FAKE_TENSORRT` chooses the version (8.6.2, 10.3.0, 10.13.2.6, 11.4.0.106): a name that it does not have is not there.
`FAKE_TENSORRT_SECONDS=2` makes a build take time, `FAKE_TENSORRT_FAIL=parse|build|memory|crash` lets one fail, and
`FAKE_TENSORRT_LOG=FILE` gets one line of JSON per build when it starts, `FILE.ends` one when it ends.
`FAKE_TENSORRT_SLOW=int8:5` makes every run of an engine that computes in int8 last 5 ms longer.
A callback that raises ends the process, as it may with the real one.
"""

# Importing them fills what is exported.
from tensorrt import _builder, _context, _inspector, _names, _parser  # noqa: F401

__version__ = _names.VERSION

for _name, _enum in _names.ENUMS.items():
    if "." not in _name:
        globals()[_name] = _enum
globals().update(_names.EXPORTED)

nptype = _context.nptype


def volume(iterable):  # type: ignore[no-untyped-def]
    product = 1
    for size in iterable:
        product *= size
    return product if iterable else 0


def init_libnvinfer_plugins(logger, namespace):  # type: ignore[no-untyped-def]
    return True
