"""Tests of what operators see and run."""
