"""Calls as they are written down, kept and added up."""
