import os

if os.environ.get("FAKE_CUDA_PYTHON") == "old":
    raise ModuleNotFoundError("No module named 'cuda.bindings'", name="cuda.bindings")
