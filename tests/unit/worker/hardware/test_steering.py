from __future__ import annotations

from worker.hardware.steering import LONGEST, steering_variables


def test_what_steers_a_runtime_is_kept_and_nothing_else() -> None:
    steering = {
        "OMP_NUM_THREADS": "4",
        "GOMP_CPU_AFFINITY": "0-3",
        "KMP_BLOCKTIME": "0",
        "MKL_NUM_THREADS": "2",
        "OPENBLAS_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "ORT_DISABLE_ALL": "1",
        "LD_PRELOAD": "/usr/lib/libjemalloc.so.2",
    }
    assert (
        steering_variables(
            {
                **steering,
                "PATH": "/bin",
                "HOME": "/root",
                "FLEETMARK_HOST": "x",
                "COMP_WORDS": "y",
                "TF_CLI_CONFIG_FILE": "/etc/terraformrc",
            }
        )
        == steering
    )


def test_a_value_without_end_is_cut() -> None:
    assert len(steering_variables({"OMP_PLACES": "x" * 10_000})["OMP_PLACES"]) == LONGEST
