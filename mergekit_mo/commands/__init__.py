"""The subcommands of `mergekit-mo`: one file each, and the file's name is the command's.

Rule: a command's file loads nothing heavy when it is imported, so that `--help` answers at once;
it reads arguments, calls the library and hands the result to `console`. It holds no logic.
"""
