"""A whole cluster on this machine for trying raftsman: nodes and the development Kubernetes as processes of their own.

``raftsman dev`` and ``raftsman demo`` stand on it. ``layout`` says where its files are and what they say, ``processes``
starts them so that they die with us, ``looking`` asks the nodes who leads, ``ground`` holds it all together and tells
what happens as ``news``, ``keys`` reads the keyboard. No word for people is in here: those are the command line's.
"""
