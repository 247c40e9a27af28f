"""Tests of values: no process, no network beyond loopback."""
