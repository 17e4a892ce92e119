"""The command line. Modules named `*_commands` declare commands and import nothing heavy, so that help is instant."""
