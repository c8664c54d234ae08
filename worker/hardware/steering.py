"""The environment variables that steer how a runtime computes: threads, devices, allocators. They are part of what was measured."""

from __future__ import annotations

from collections.abc import Mapping

PREFIXES = (
    *("OMP_", "GOMP_", "KMP_", "OPENBLAS_", "GOTO_", "MKL_", "BLIS_", "VECLIB_", "NUMEXPR_", "DNNL_", "ONEDNN_", "TBB_"),
    *("ORT_", "ORTMODULE_", "TORCH_", "PYTORCH_", "TF_NUM_", "TF_ENABLE_", "TF_XLA_", "TF_GPU_", "TF_FORCE_", "XLA_", "VLLM_", "TRITON_"),
    *("CUDA_", "CUDNN_", "CUBLAS_", "NVIDIA_", "NCCL_", "HIP_", "ROCR_", "HSA_", "MIOPEN_"),
    *("MALLOC_", "MIMALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD", "LD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES"),
)
LONGEST = 500  # of a value: more is no setting that a person has chosen


def steering_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Those of the variables that steer a runtime, by name. The caller has taken the credentials out."""
    return {name: value[:LONGEST] for name, value in sorted(environment.items()) if name.upper().startswith(PREFIXES)}


# ONNX Runtime connects to its maker some seconds after it is imported. `disable_telemetry_events()` comes too late for what it says of
# its start; this variable does not. A measured process, and a device, talk to nobody whom the user did not name.
NO_TELEMETRY = {"ORT_DISABLE_TELEMETRY": "1"}
