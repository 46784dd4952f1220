"""One module for each tool: its release, its packages in the distribution, its place in an image."""
