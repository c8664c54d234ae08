"""Builds Tiny YOLOv2 with its published architecture: 9 convolutions on 416×416 images, 15.9 million weights (63 MB).

The architecture is that of Redmon and Farhadi, "YOLO9000: Better, Faster, Stronger" (2017), configuration `yolov2-tiny-voc`. It has eight
blocks of convolution, batch normalisation and leaky ReLU (slope 0.1), max-pooling after each of the first six, and a 1×1 convolution to 125
channels (5 anchors × (20 classes + 5)). The weights are random with a fixed seed (He et al. 2015), not trained. So the network is suitable
for measuring latency and memory, but it cannot detect objects.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS = (3, 16, 32, 64, 128, 256, 512, 1024, 1024)
POOL_STRIDES = (2, 2, 2, 2, 2, 1)  # the strides of the pooling after each of the first six blocks; the last one keeps the size 13×13
OUTPUT_CHANNELS = 125
SIDE = 416
OPSET = 13  # supported by every onnxruntime of the last years
SEED = 2017


def write_tiny_yolo(path: Path) -> None:
    """Write the network to `path`. The weights are the same every time."""
    draw = np.random.default_rng(SEED)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def constant(name: str, values: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def convolution(name: str, value: str, inputs: int, outputs: int, side: int, bias: bool) -> str:
        scale = np.sqrt(2 / (inputs * side * side))
        kernel = draw.standard_normal((outputs, inputs, side, side), dtype=np.float32) * scale
        operands = [value, constant(f"{name}_weight", kernel)]
        if bias:
            operands.append(constant(f"{name}_bias", np.zeros(outputs)))
        nodes.append(helper.make_node("Conv", operands, [name], name=name, kernel_shape=[side, side], auto_pad="SAME_UPPER"))
        return name

    value = "image"
    for block, (inputs, outputs) in enumerate(itertools.pairwise(CHANNELS), start=1):
        value = convolution(f"conv{block}", value, inputs, outputs, side=3, bias=False)
        statistics = {
            "scale": draw.uniform(0.8, 1.2, outputs),
            "shift": draw.uniform(-0.1, 0.1, outputs),
            "mean": draw.uniform(-0.1, 0.1, outputs),
            "variance": draw.uniform(0.8, 1.2, outputs),
        }
        operands = [constant(f"norm{block}_{key}", values) for key, values in statistics.items()]
        nodes.append(helper.make_node("BatchNormalization", [value, *operands], [f"norm{block}"], name=f"norm{block}"))
        nodes.append(helper.make_node("LeakyRelu", [f"norm{block}"], [f"relu{block}"], name=f"relu{block}", alpha=0.1))
        value = f"relu{block}"
        if block <= len(POOL_STRIDES):
            stride = POOL_STRIDES[block - 1]
            shape = {"kernel_shape": [2, 2], "strides": [stride, stride], "auto_pad": "SAME_UPPER"}
            nodes.append(helper.make_node("MaxPool", [value], [f"pool{block}"], name=f"pool{block}", **shape))
            value = f"pool{block}"
    grid = convolution("grid", value, CHANNELS[-1], OUTPUT_CHANNELS, side=1, bias=True)

    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])
    output = helper.make_tensor_value_info(grid, TensorProto.FLOAT, ["batch", OUTPUT_CHANNELS, SIDE // 32, SIDE // 32])
    graph = helper.make_graph(nodes, "tiny-yolov2", [image], [output], initializer=weights)
    model = helper.make_model(graph, producer_name="fleetmark", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    path.write_bytes(model.SerializeToString())
