//! Run folders, traces, prompts and the command line.
