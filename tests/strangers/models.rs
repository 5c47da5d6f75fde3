//! Model files and folders: read right, or refused with the reason.
