"""What every provider promises, as checks that run without a database, without our tests, and without a network.

`python -m connections.providers.conform package.module:Class --golden folder` runs them on a class of your own; our
contract suite runs the same ones on ours.
"""
