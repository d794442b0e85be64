"""Words of the service: types, errors, ports; no I/O."""
