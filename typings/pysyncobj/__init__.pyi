"""The part of pysyncobj 0.3.17 that raftsman.raft.core uses."""

from pysyncobj.syncobj import SyncObj as SyncObj
from typing import Any

class SyncObjConf:
    def __init__(self, **kwargs: Any) -> None: ...
