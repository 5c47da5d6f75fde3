//! Result files of tools that the project imports.
