"""The control plane: takes campaigns in, hands jobs out, records what comes back. Never imports `worker`."""
