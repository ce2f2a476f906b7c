"""What only a GPU can prove, in one command:

    EDGEZOO_MUST=cuda,tensorrt python -m pytest tests/gpu

Without a GPU all of it is skipped, with the reason; `EDGEZOO_MUST` says that it may not be. `EDGEZOO_GPU_DEVICE=cuda:1`
chooses another GPU, `EDGEZOO_GPU_RUNS` the inferences over which memory must stay flat (10000; below 1000 a small
network stands in for the built-in detector), and `EDGEZOO_GPU_FIGURES=FILE` is where the table of figures goes as JSON,
too.

They were written where there is none, and have not met one yet.

Two rehearsals need no GPU, prove nothing about one, and say so: `EDGEZOO_GPU_DEVICE=cpu` lets ONNX Runtime's tests run
over the CPU's own memory, and `PYTHONPATH=tests/fakes` brings a TensorRT that is none. `tests/test_gpu_suite.py` runs
both, so that these tests are tested.
"""
