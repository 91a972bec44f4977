"""What of the package runs on workers: the process of a context, its calls, and the variables that they find."""
