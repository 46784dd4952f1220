"""How envd speaks HTTP: one client, with one policy for retries, limits, proxies and certificates."""
