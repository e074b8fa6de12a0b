"""The command line: a module a command, which parses, calls the library and prints.

Torch is imported inside commands.
"""
