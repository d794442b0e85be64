"""Best of n against reward models that were trained on a gold reward's labels: what ensembles save of it."""
