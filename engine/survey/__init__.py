"""What a project needs, read from its files: the base of `envd init`. Nothing is run, and nothing is
asked of the network."""
