//! Result files of further tools: read, or recognised by name with what to do.
