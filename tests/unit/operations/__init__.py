"""Tests of the commands, logs and metrics for operators."""
