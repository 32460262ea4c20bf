"""Containers of tensors, read without executing anything."""
