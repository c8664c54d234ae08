"""What an ONNX file says of its inputs beyond what the runtime reports: their rank, and what the graph does with them.

The file is read straight from the protobuf wire format, memory-mapped. Weights are stepped over, external data is never
opened, and the `onnx` package is not needed: it would cost the measured process 60 MB.
"""
