"""The command line: a thin layer of words over ``raftsman.client``. Its entry is ``raftsman.cli.main``."""
