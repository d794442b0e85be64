"""Forms batches while the device is busy."""
