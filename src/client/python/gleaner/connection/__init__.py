"""The way to a manager: where it is, requests to it, the calls of one job, and the large parts of values."""
