"""
Adapters to other libraries, none of which is imported or installed by this package.

`adapters.httpx` puts a client under frameworks that accept an httpx client, and
`adapters.mcp` makes the tools of an MCP server available to `run_tools`.
"""
