"""What the Snakefile asks: inputs, triggers, targets, resources, warnings and the plan of a study."""
