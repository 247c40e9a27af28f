"""The port of ``executor.jobs`` on the official client's asyncio half.

``kubeconfig`` finds and checks an account, ``connection`` builds HTTP clients for it, ``transport`` makes calls,
``answers`` turns what came back into the port's errors, ``client`` speaks of Jobs and Pods, ``reflector`` and
``mirror`` keep live copies of them. Importing this package does not import the official client: that takes a
quarter of a second and happens in a thread, when the first context connects.
"""
