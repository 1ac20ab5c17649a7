"""Tests that share a run of three real regions; it ends with the last of them, because this folder is a package."""
