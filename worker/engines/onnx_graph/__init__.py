"""Reads from an ONNX file what the runtime does not report about the inputs: their rank, and what the graph does with them.

The file is mapped into memory and read directly in the protobuf wire format. Weights are skipped, and external data is never opened.
The `onnx` package is not used, because it would cost the measured process 60 MB.
"""
