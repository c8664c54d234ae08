"""Lists the environment variables that influence how a runtime computes: threads, devices, allocators. A result records them."""

from __future__ import annotations

from collections.abc import Mapping

PREFIXES = (
    *("OMP_", "GOMP_", "KMP_", "OPENBLAS_", "GOTO_", "MKL_", "BLIS_", "VECLIB_", "NUMEXPR_", "DNNL_", "ONEDNN_", "TBB_"),
    *("ORT_", "ORTMODULE_", "TORCH_", "PYTORCH_", "TF_NUM_", "TF_ENABLE_", "TF_XLA_", "TF_GPU_", "TF_FORCE_", "XLA_", "VLLM_", "TRITON_"),
    *("CUDA_", "CUDNN_", "CUBLAS_", "NVIDIA_", "NCCL_", "HIP_", "ROCR_", "HSA_", "MIOPEN_"),
    *("MALLOC_", "MIMALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD", "LD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES"),
)
LONGEST = 500  # the most characters of a value that are kept; a value chosen by a person is shorter


def steering_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that influence a runtime, sorted by name. The caller has already removed the credentials."""
    return {name: value[:LONGEST] for name, value in sorted(environment.items()) if name.upper().startswith(PREFIXES)}


# ONNX Runtime connects to its maker some seconds after it is imported. `disable_telemetry_events()` is too late to stop the event about
# its start; this variable stops it. Our processes must not connect to servers that the user did not name.
NO_TELEMETRY = {"ORT_DISABLE_TELEMETRY": "1"}
