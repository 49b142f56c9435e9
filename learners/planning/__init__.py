"""Choosing actions by search."""
