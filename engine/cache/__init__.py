"""What other machines have built: realisations and their layers, shared through a registry or a directory."""
