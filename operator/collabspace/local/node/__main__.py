"""`python -m collabspace.local.node`."""

from collabspace.local.node.main import main

main()
