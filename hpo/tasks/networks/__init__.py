"""Modules of the architectures that are more than a sequence of torch's own; they import torch at once.

They know no task, no registry and no configuration.
"""
