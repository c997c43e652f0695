"""Outer objectives: what meta-training descends, as functions of replayed lifetimes."""
