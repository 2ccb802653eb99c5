"""The Lua scripts, and what both Redis seams (transport and backend) share to run them."""
