"""Run quanta in warm processes of this machine: `worker` is the process, `crew` how the driver sees them."""
